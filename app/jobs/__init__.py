"""The scheduler and what it runs. A job only ticks; it never carries an order."""

from flask import Flask


def register(app: Flask) -> None:
    """Mount what this package serves."""
