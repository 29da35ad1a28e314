"""Doors for other people's machines: TradingView."""

from flask import Flask

from app.extensions import csrf
from app.webhooks import tradingview


def register(app: Flask) -> None:
    """Mount what this package serves; a webhook is authenticated by its address."""
    tradingview.reset_limits()
    csrf.exempt(tradingview.bp)
    app.register_blueprint(tradingview.bp)
