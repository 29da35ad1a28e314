"""Use cases: the verbs of the product, one module per noun. They own the transactions."""

from flask import Flask

from app.services import runtime, secrets, sync


def register(app: Flask) -> None:
    secrets.register(app)
    runtime.register(app)
    sync.register()
