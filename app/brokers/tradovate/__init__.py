"""Tradovate: orders by REST, changes by its user stream."""
