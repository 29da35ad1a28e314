"""Quantities, prices, symbols and times as senders write them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from app.domain.signals import firing_time
from app.domain.signals.numbers import parse_number
from tests.unit.domain.signals.alerts import fields, one, read, refusal, refused, signal


@pytest.mark.parametrize(
    ("sent", "quantity", "kind"),
    [
        (2, "2", "fixed_quantity"),
        (0.4, "0.4", "fixed_quantity"),
        ("3", "3", "fixed_quantity"),
        (" 3 ", "3", "fixed_quantity"),
        ("+3", "3", "fixed_quantity"),
        (".5", "0.5", "fixed_quantity"),
        ("2.0", "2.0", "fixed_quantity"),
        ("12,500", "12500", "fixed_quantity"),
        ("1,250,000.50", "1250000.50", "fixed_quantity"),
        ("50%", "50", "percent"),
        ("50 %", "50", "percent"),
        ("12.5%", "12.5", "percent"),
        (1e3, "1000.0", "fixed_quantity"),
        ("1e3", "1000", "fixed_quantity"),
    ],
)
def test_quantities_that_are_read(sent: object, quantity: str, kind: str) -> None:
    found = signal(qty=sent)

    assert (str(found.quantity), found.quantity_type) == (quantity, kind)


@pytest.mark.parametrize(
    "sent",
    [
        "1,5", "12,50", "1,2500", "0,500", "1,250,00", ",5", "300$", "$300", "3x", "100a%",
        "%50", "50%%", -1, "-1", "NaN", "nan", "Infinity", "-Infinity", "1 000", "0x10", "1_000",
        "two", True, [2], {"x": 2}, "٣", "--1", "1.2.3", "1e99", 1e300, "9" * 16, "0." + "1" * 19,
        "1" * 100, 0, "0", "0.0", "0%",
    ],
)  # fmt: skip
@pytest.mark.parametrize("action", ["buy", "sell", "add", "reverse"])
def test_quantities_that_are_refused(action: str, sent: object) -> None:
    error = refused(action=action, contracts=sent)

    assert (error.code, error.field, error.status) == ("bad_quantity", "contracts", 400)


@pytest.mark.parametrize("sent", ["1,5", "300$", "-1", "NaN", "Infinity"])
def test_a_partial_close_needs_a_number_too(sent: str) -> None:
    assert refused(action="close", qty=sent).code == "bad_quantity"


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999999999", "1" * 100_00])
def test_json_numbers_without_sense_are_refused(word: str) -> None:
    error = refusal(f'{{"action": "buy", "symbol": "ES", "qty": {word}}}')

    assert (error.code, error.field) == ("bad_quantity", "qty")
    assert len(error.detail) < 200


def test_the_refusal_reads_like_the_documented_one() -> None:
    assert refused(contracts="NaN").detail == "contracts is 'NaN': expected a positive number"


@pytest.mark.parametrize(
    "kind",
    [
        "fixed_quantity", "percent", "percent_of_equity", "percent_of_position", "dollar_amount",
        "risk_dollar_amount", "risk_percent",
    ],
)  # fmt: skip
def test_every_kind_of_quantity_is_kept(kind: str) -> None:
    assert signal(quantity=50, quantity_type=kind).quantity_type == kind
    assert signal(quantity=50, quantityType=kind.upper()).quantity_type == kind


def test_a_percent_sign_agrees_with_percentages_only() -> None:
    assert signal(qty="5%", quantity_type="risk_percent").quantity_type == "risk_percent"
    assert refused(qty="5%", quantity_type="dollar_amount").code == "bad_quantity"


def test_an_unknown_kind_of_quantity_is_refused() -> None:
    error = refused(qty=5, quantity_type="barrels")

    assert (error.code, error.field) == ("bad_quantity", "quantity_type")


@pytest.mark.parametrize("sent", ["NaN", "Infinity", "{{close}}", "1,5", "abc", True, [1], {}])
@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("price", "price"),
        ("tp", "take_profit"),
        ("sl", "stop_loss"),
        ("limit_price", "limit_price"),
        ("stop_price", "stop_price"),
        ("market_position_size", "target_size"),
        ("prev_market_position_size", "previous_size"),
    ],
)
def test_prices_that_are_no_numbers_are_ignored_with_a_warning(
    name: str, member: str, sent: object
) -> None:
    if sent == {} and name in ("tp", "sl"):
        return
    decoded = fields(**{name: sent})

    assert getattr(decoded.signals[0], member) is None
    assert name in decoded.warnings[0]


@pytest.mark.parametrize("sent", ["", None, " "])
def test_empty_prices_are_not_stated(sent: str | None) -> None:
    assert fields(price=sent, tp=sent) == fields()


def test_zero_as_stop_or_target_means_none() -> None:
    decoded = fields(tp=0, sl="0")

    assert (decoded.signals[0].take_profit, decoded.signals[0].stop_loss) == (None, None)
    assert len(decoded.warnings) == 2


def test_unquoted_nan_in_a_price_is_ignored_with_warnings() -> None:
    decoded = read('{"action": "buy", "symbol": "ES", "price": NaN, "sl": -Infinity}')

    assert (decoded.signals[0].price, decoded.signals[0].stop_loss) == (None, None)
    assert any("NaN" in w for w in decoded.warnings)


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        ({"type": "limit", "price": "4500"}, 4500),
        ({"order_type": "Limit", "limit_price": 4501, "price": 4500}, 4501),
        ({"order_type": "limit", "limit_price": "NaN", "price": 4500}, 4500),
        ({"order_type": "stop-limit", "limit_price": 4501, "stop_price": 4500}, 4501),
        ({"order_type": "market", "price": 4500}, None),
    ],
)
def test_limit_prices(values: dict[str, object], limit: int | None) -> None:
    assert signal(**values).limit_price == limit


@pytest.mark.parametrize(
    "values",
    [
        {"type": "limit"},
        {"type": "limit", "price": "NaN"},
        {"type": "limit", "price": "{{close}}"},
        {"type": "limit", "limit_price": 0},
        {"type": "stop", "price": 4500},
        {"type": "stop_limit", "limit_price": 4500},
        {"type": "stop_limit", "stop_price": 4500},
    ],
)
def test_an_order_type_without_its_price_is_refused(values: dict[str, object]) -> None:
    assert refused(**values).code == "bad_price"


def test_an_unknown_order_type_is_ignored_with_a_warning() -> None:
    decoded = fields(order_type="iceberg")

    assert decoded.signals[0].order_type is None
    assert "iceberg" in decoded.warnings[0]


@pytest.mark.parametrize(
    ("sent", "symbol", "exchange"),
    [
        ("MNQ1!", "MNQ1!", None),
        ("mnq1!", "MNQ1!", None),
        ("CME_MINI:MNQ1!", "MNQ1!", "CME_MINI"),
        ("cme_mini:mnq1!", "MNQ1!", "CME_MINI"),
        ("BTCUSDT.P", "BTCUSDT.P", None),
        ("BINANCE:BTCUSDT.P", "BTCUSDT.P", "BINANCE"),
        ("BTC/USDT:USDT", "BTC/USDT:USDT", None),
        ("A:B:C", "A:B:C", None),
        ("MNQ 06-25", "MNQ 06-25", None),
        ("SPY 240510C68", "SPY 240510C68", None),
        ("BRK.B", "BRK.B", None),
        ("EUR/USD", "EUR/USD", None),
        ("M&M", "M&M", None),
        ("^SPX", "^SPX", None),
        ("NSE:NIFTY25JAN21500CE", "NIFTY25JAN21500CE", "NSE"),
        ("X" * 40, "X" * 40, None),
        (7203, "7203", None),
    ],
)
def test_symbols_that_are_read(sent: object, symbol: str, exchange: str | None) -> None:
    found = signal(symbol=sent)

    assert (found.symbol, found.exchange) == (symbol, exchange)


@pytest.mark.parametrize(
    "sent",
    [
        "X" * 41, "ES;NQ", "ES,NQ", "<ES>", "E$", "CME:", ":ES", "ÄÖ", "!", "..", "ES\tNQ", True,
        ["ES"], {"x": 1}, "X" * 5000,
    ],
)  # fmt: skip
def test_symbols_that_are_refused(sent: object) -> None:
    error = refused(symbol=sent)

    assert (error.code, error.field) == ("bad_symbol", "symbol")
    assert len(error.detail) < 160


def test_the_exchange_field_is_used_when_there_is_no_prefix() -> None:
    assert signal(exchange="cme_mini").exchange == "CME_MINI"
    assert signal(symbol="CBOT:ZC1!", exchange="CME").exchange == "CBOT"


@pytest.mark.parametrize("exchange", ["NYMEX_DL", "NYMEX_DLY"])
def test_delayed_data_is_warned_of(exchange: str) -> None:
    assert "delayed" in fields(symbol=f"{exchange}:CL1!").warnings[0]


def test_the_configured_symbol_stands_in_for_a_missing_one() -> None:
    found = one('{"action": "buy"}', symbol="CME_MINI:mes1!")

    assert (found.symbol, found.exchange) == ("MES1!", "CME_MINI")
    assert one('{"action": "buy", "symbol": "ES"}', symbol="MES1!").symbol == "ES"


@pytest.mark.parametrize("configured", [None, "", " "])
def test_a_symbol_that_is_nowhere_is_missing(configured: str | None) -> None:
    error = refusal('{"action": "buy", "symbol": ""}', symbol=configured)

    assert (error.code, error.field) == ("missing_symbol", "symbol")


_FIRED = datetime(2026, 4, 14, 13, 45, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "sent",
    [
        "2026-04-14T13:45:00Z",
        "2026-04-14T13:45:00+00:00",
        "2026-04-14T15:45:00+02:00",
        "2026-04-14 13:45:00",
        "2026-04-14T13:45",
        "2026-04-14T13:45:00.000Z",
        "20260414T134500Z",
        "1776174300",
        "1776174300000",
        " 1776174300.0 ",
    ],
)
def test_firing_times_that_are_read(sent: str) -> None:
    assert firing_time(sent) == _FIRED


@pytest.mark.parametrize(
    "sent",
    [
        "", "now", "2026-04-14", "20260414", "13:45", "0", "1", "-1776174300", "1" * 20,
        "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1999-12-31T23:59:59Z",
        "2026-13-14T13:45:00Z", "{{timenow}}", "2026-W15-2", None, True, 5, "T" * 50,
    ],
)  # fmt: skip
def test_texts_that_are_no_firing_time(sent: object) -> None:
    assert firing_time(sent) is None


@pytest.mark.parametrize("name", ["timenow", "date", "timestamp", "time", "alertTimestamp"])
def test_every_name_of_the_firing_time_is_read(name: str) -> None:
    assert signal(**{name: "2026-04-14T13:45:00Z"}).fired_at == _FIRED
    assert signal(**{name: 1776174300}).fired_at == _FIRED


def test_the_firing_time_is_preferred_to_the_opening_of_the_bar() -> None:
    opening, moment = "2026-04-14T13:00:00Z", "2026-04-14T13:45:00Z"

    for name in ("timenow", "date", "timestamp", "alertTimestamp"):
        found = signal(time=opening, **{name: moment})
        assert (found.fired_at, found.time) == (_FIRED, opening)


def test_an_unreadable_time_is_passed_over_with_a_warning() -> None:
    decoded = fields(timenow="{{timenow}}", timestamp="2026-04-14T13:45:00Z")

    assert decoded.signals[0].fired_at == _FIRED
    assert "timenow" in decoded.warnings[0]


@pytest.mark.parametrize("text", ["1", "-1.5", "+1,000", "1.", ".5", "1E-5"])
def test_numbers_are_finite_decimals(text: str) -> None:
    assert parse_number(text) == Decimal(text.replace(",", ""))
