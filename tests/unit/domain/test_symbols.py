from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import instruments, symbols
from app.domain.instruments import InstrumentKind

AT = datetime(2026, 10, 15, 12, tzinfo=UTC)

SYMBOLS = [
    ("MNQ1!", "MNQ", "MNQZ6"),
    ("MNQ2!", "MNQ", "MNQH7"),
    ("mnq1!", "MNQ", "MNQZ6"),
    ("MNQ!", "MNQ", "MNQZ6"),
    ("MNQ", "MNQ", "MNQZ6"),
    ("MNQZ2026", "MNQ", "MNQZ6"),
    ("MNQZ26", "MNQ", "MNQZ6"),
    ("MNQZ6", "MNQ", "MNQZ6"),
    ("MNQ 12-26", "MNQ", "MNQZ6"),
    ("MNQ 03-2027", "MNQ", "MNQH7"),
    ("CME_MINI:MNQ1!", "MNQ", "MNQZ6"),
    ("6E1!", "6E", "6EZ6"),
    ("6EZ2026", "6E", "6EZ6"),
    ("6M1!", "6M", "6MZ6"),
    ("M6EZ6", "M6E", "M6EZ6"),
    ("M2K", "M2K", "M2KZ6"),
    ("M2K1!", "M2K", "M2KZ6"),
    ("M2KZ6", "M2K", "M2KZ6"),
    ("M2KZ2026", "M2K", "M2KZ6"),
    ("ZN1!", "ZN", "ZNZ6"),
    ("ZNZ26", "ZN", "ZNZ6"),
    ("NG1!", "NG", "NGX6"),
    ("NGZ6", "NG", "NGZ6"),
    ("CL1!", "CL", "CLZ6"),
    ("GC1!", "GC", "GCZ6"),
    ("SI1!", "SI", "SIZ6"),
    ("SIL1!", "SIL", "SILZ6"),
    ("HGZ6", "HG", "HGZ6"),
    ("BTC1!", "BTC", "BTCV6"),
    ("BTCV2026", "BTC", "BTCV6"),
    ("MBT1!", "MBT", "MBTV6"),
    ("BTCUSDT", "BTCUSDT", "BTCUSDT"),
    ("BTC/USDT", "BTCUSDT", "BTCUSDT"),
    ("BTCUSDT.P", "BTCUSDT", "BTCUSDT.P"),
    ("BTCUSDTPERP", "BTCUSDT", "BTCUSDT.P"),
    ("BTCUSD", "BTCUSD", "BTCUSD"),
    ("EURUSD", "EURUSD", "EURUSD"),
    ("EUR/USD", "EURUSD", "EURUSD"),
    ("XAUUSD", "XAUUSD", "XAUUSD"),
    ("AAPL", "AAPL", "AAPL"),
    ("BRK.B", "BRK.B", "BRK.B"),
]


@pytest.mark.parametrize(("symbol", "root", "contract"), SYMBOLS)
def test_a_symbol_resolves_to_its_instrument_and_contract(
    symbol: str, root: str, contract: str
) -> None:
    resolved = symbols.resolve(symbol, AT)

    assert resolved.instrument is instruments.find(root)
    assert resolved.contract == contract
    assert symbols.instrument_for(resolved.contract) is resolved.instrument


@pytest.mark.parametrize("symbol", ["HSI1!", "NIFTY25JAN21500CE", "DAX", "MNQ 13-26", "ZZTOPUSDT"])
def test_an_unknown_symbol_stands_for_itself(symbol: str) -> None:
    resolved = symbols.resolve(symbol, AT)

    assert resolved.contract == symbol
    assert resolved.instrument.kind is InstrumentKind.UNKNOWN
    assert not resolved.instrument.known


@pytest.mark.parametrize(
    ("symbol", "setting", "contract"),
    [
        ("MNQ1!", "next", "MNQH7"),
        ("MNQ", "next", "MNQH7"),
        ("MNQ2!", "next", "MNQH7"),
        ("MNQ1!", "MNQM7", "MNQM7"),
        ("MNQ1!", "MNQM2027", "MNQM7"),
        ("MNQZ2026", "MNQM7", "MNQM7"),
        ("MNQZ2026", "next", "MNQZ6"),
        ("ES1!", "MNQM7", "ESZ6"),
        ("BTCUSDT", "next", "BTCUSDT"),
    ],
)
def test_the_contract_setting_chooses_the_month(symbol: str, setting: str, contract: str) -> None:
    assert symbols.resolve(symbol, AT, contract=setting).contract == contract


@pytest.mark.parametrize(
    ("symbol", "now", "year"),
    [
        ("MNQZ5", 2025, 2025),
        ("MNQZ5", 2026, 2025),
        ("MNQZ5", 2027, 2035),
        ("MNQZ6", 2026, 2026),
        ("MNQH0", 2029, 2030),
        ("MNQH9", 2029, 2029),
        ("MNQZ25", 2027, 2025),
    ],
)
def test_a_one_digit_year_is_the_nearest_that_is_not_before_last_year(
    symbol: str, now: int, year: int
) -> None:
    assert symbols.resolve(symbol, AT.replace(year=now)).year == year


@pytest.mark.parametrize(
    ("root", "year", "month", "rolls"),
    [
        ("ES", 2026, 12, date(2026, 12, 10)),
        ("MNQ", 2026, 9, date(2026, 9, 10)),
        ("6E", 2026, 12, date(2026, 12, 7)),
        ("ZN", 2026, 12, date(2026, 11, 25)),
        ("GC", 2026, 12, date(2026, 11, 25)),
        ("CL", 2026, 12, date(2026, 11, 17)),
        ("CL", 2026, 11, date(2026, 10, 15)),
        ("NG", 2026, 11, date(2026, 10, 23)),
        ("BTC", 2026, 10, date(2026, 10, 26)),
        ("BTC", 2026, 12, date(2026, 12, 21)),
    ],
)
def test_contracts_roll_by_the_rule_of_their_product(
    root: str, year: int, month: int, rolls: date
) -> None:
    instrument = instruments.all_instruments()[root]

    assert symbols.roll_date(instrument, year, month) == rolls


def test_the_front_month_changes_when_the_session_of_the_roll_date_begins() -> None:
    evening = datetime(2026, 12, 9, 23, tzinfo=UTC)  # 17:00 in Chicago

    assert symbols.resolve("ES1!", evening - timedelta(seconds=1)).contract == "ESZ6"
    assert symbols.resolve("ES1!", evening).contract == "ESH7"


_LISTED = (
    symbols.Listed("ESH7", date(2027, 3, 19)),
    symbols.Listed("ESF7", date(2027, 1, 15)),
    symbols.Listed("ESZ6", date(2026, 12, 17)),  # a day early, for a holiday
)


@pytest.mark.parametrize(
    ("symbol", "on", "contract"),
    [
        ("ES1!", date(2026, 12, 8), "ESZ6"),
        ("ES1!", date(2026, 12, 9), "ESH7"),
        ("ES2!", date(2026, 12, 8), "ESH7"),
        ("ES3!", date(2026, 12, 8), "ESM7"),
        ("ESZ6", date(2026, 12, 9), "ESZ6"),
        ("NQ1!", date(2026, 12, 9), "NQZ6"),
    ],
)
def test_what_a_broker_lists_decides_as_far_as_it_goes(
    symbol: str, on: date, contract: str
) -> None:
    at = datetime(on.year, on.month, on.day, 15, tzinfo=UTC)

    listed = {"ES": _LISTED}
    found = symbols.resolve(symbol, at, listed_of=lambda root: listed.get(root, ()))

    assert found.contract == contract


def test_delivery_is_left_before_its_first_notice() -> None:
    gold = symbols.Listed("GCZ6", date(2026, 12, 29), date(2026, 11, 30))
    following = symbols.Listed("GCG7", date(2027, 2, 24), date(2027, 1, 29))
    at = datetime(2026, 11, 25, 15, tzinfo=UTC)

    front = symbols.resolve("GC1!", at, listed_of=lambda _root: (gold, following))

    assert front.contract == "GCG7"


@given(
    st.sampled_from([i for i in instruments.all_instruments().values() if i.months]),
    st.integers(-50_000, 500_000).map(lambda hours: AT + timedelta(hours=hours)),
)
def test_every_front_contract_reads_back_as_itself(
    instrument: instruments.Instrument, at: datetime
) -> None:
    front, following = (symbols.nth_contract(instrument, at, place) for place in (1, 2))

    assert front.year is not None
    assert front.month is not None
    assert symbols.resolve(front.contract, at) == front
    assert symbols.resolve(f"{instrument.root}1!", at, contract="next") == following
    assert at.date() <= symbols.roll_date(instrument, front.year, front.month)


@given(st.text(max_size=40))
def test_no_text_breaks_the_parser(text: str) -> None:
    resolved = symbols.resolve(text, AT, contract=text)

    assert symbols.instrument_for(text).root == resolved.instrument.root
