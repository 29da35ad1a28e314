"""Where the prices of a fresh world stand."""

from __future__ import annotations

from decimal import Decimal

from tests.simulators.tradovate.venue import Venue

_STARTS = {
    "ES": "6800",
    "NQ": "25000",
    "YM": "47000",
    "RTY": "2400",
    "CL": "60",
    "NG": "4",
    "GC": "4000",
    "SI": "50",
    "HG": "5",
    "6E": "1.16",
    "ZN": "113",
    "ZB": "117",
}
_MICROS = {
    "MES": "ES",
    "MNQ": "NQ",
    "MYM": "YM",
    "M2K": "RTY",
    "MCL": "CL",
    "MNG": "NG",
    "MGC": "GC",
    "SIL": "SI",
    "MHG": "HG",
}


def quote_everything(venue: Venue) -> None:
    """A quote one tick wide for every listed contract; a micro stands where its big one does."""
    for root in (*_STARTS, *_MICROS):
        start = Decimal(_STARTS[_MICROS.get(root, root)])
        for contract in venue.library.chain(root):
            venue.set_price(contract.name, start, start + contract.tick, start)
