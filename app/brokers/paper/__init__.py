"""A broker of our own: orders are matched here, on real or simulated quotes."""

from app.brokers.paper.broker import PaperBroker

__all__ = ["PaperBroker"]
