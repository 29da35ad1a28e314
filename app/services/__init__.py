"""Use cases: the verbs of the product, one module per noun. They own the transactions."""

from flask import Flask

from app.services import rate_limits, runtime, secrets, sync


def register(app: Flask) -> None:
    secrets.register(app)
    rate_limits.register(app)
    runtime.register(app)
    sync.register()
