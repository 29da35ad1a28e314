"""One package per broker behind the protocol of ``base``."""
