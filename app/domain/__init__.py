"""The rules of the product: pure functions and values; no Flask, no database, no network."""
