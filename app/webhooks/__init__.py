"""Doors for other people's machines: TradingView."""

from flask import Flask


def register(app: Flask) -> None:
    """Mount what this package serves."""
