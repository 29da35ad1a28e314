"""Socket.IO: who may join which room, and what is pushed to it."""

from flask import Flask


def register(app: Flask) -> None:
    """Mount what this package serves."""
