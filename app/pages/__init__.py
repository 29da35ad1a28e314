"""The server-rendered pages, one module per page."""

from flask import Flask


def register(app: Flask) -> None:
    """Mount what this package serves."""
