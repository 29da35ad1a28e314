"""Market data: feeds behind the protocol of ``base``."""
