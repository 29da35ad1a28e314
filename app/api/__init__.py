"""The JSON endpoints, one module per noun, mounted under ``/api``."""

from flask import Flask


def register(app: Flask) -> None:
    """Mount what this package serves."""
