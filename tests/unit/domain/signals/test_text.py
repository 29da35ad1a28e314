"""Alerts that are plain text: the five grammars and what fits none of them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from app.domain.signals import Action, Signal, Target
from tests.unit.domain.signals.alerts import one, read, refusal

_BUY_ES = Signal(action=Action.BUY, symbol="ES")
_BUY_2_ES = Signal(action=Action.BUY, symbol="ES", quantity=Decimal(2))


@pytest.mark.parametrize(
    "line",
    [
        "buy ES qty=2",
        "BUY es QTY=2",
        "ES buy qty=2",
        "buy 2 ES",
        "buy 2 ES risk=1",
        "buy\tES  q:2",
        "long ES contracts=2 unknown=x",
        "go long ES qty=2",
        "buy to open 2 ES",
        "ES enter-long lots=2",
        "buy symbol=ES qty=2",
        "buy 2 ES qty=2",
        "// comment\n\n# another\nbuy ES qty=2\n",
        "  buy ES qty=2\r\n",
    ],
)
def test_commands(line: str) -> None:
    assert one(line) == _BUY_2_ES


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "sell MGC1! qty=2 sl=2391.5",
            Signal(
                action=Action.SELL,
                symbol="MGC1!",
                quantity=Decimal(2),
                stop_loss=Decimal("2391.5"),
            ),
        ),
        ("buy 3 M2K1!", Signal(action=Action.BUY, symbol="M2K1!", quantity=Decimal(3))),
        (
            "CBOT_MINI:MYM1! short q=1",
            Signal(action=Action.SELL, symbol="MYM1!", exchange="CBOT_MINI", quantity=Decimal(1)),
        ),
        ("buy ES @ 4500", Signal(action=Action.BUY, symbol="ES", price=Decimal(4500))),
        ("ES buy @4500.25", Signal(action=Action.BUY, symbol="ES", price=Decimal("4500.25"))),
        ("buy ES p:4500", Signal(action=Action.BUY, symbol="ES", price=Decimal(4500))),
        ("buy ES p=4500", Signal(action=Action.BUY, symbol="ES", price=Decimal(4500))),
        (
            "buy ES sl:4400 tp:4600 price:4500",
            Signal(
                action=Action.BUY,
                symbol="ES",
                price=Decimal(4500),
                stop_loss=Decimal(4400),
                take_profit=Decimal(4600),
            ),
        ),
        (
            "close 50% ES",
            Signal(action=Action.CLOSE, symbol="ES", quantity=Decimal(50), quantity_type="percent"),
        ),
        ("exit long FX:EURUSD", Signal(action=Action.CLOSE_LONG, symbol="EURUSD", exchange="FX")),
        ("buy MNQ 06-25", Signal(action=Action.BUY, symbol="MNQ 06-25")),
        ("reverse ES side=long", Signal(action=Action.REVERSE, symbol="ES", side=Target.LONG)),
        ("buy OPEN", Signal(action=Action.BUY, symbol="OPEN")),
        (
            "sell ES market_position=flat qty=2",
            Signal(action=Action.CLOSE, symbol="ES", target=Target.FLAT),
        ),
    ],
)
def test_commands_with_more_in_them(line: str, expected: Signal) -> None:
    assert one(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        "buy ES 2",
        "ES buy 2",
        "ES 2 buy",
        "buy 2",
        "buy 2 3",
        "buy ES 4500 qty=2",
        "buy ES @",
        "buy ES @ high",
        "buy BE",
        "buy long",
        "buy the dip now",
        "buy signal",
        "qty=2 buy ES",
        "buy ES FX:EURUSD",
        "buy ES now qty=2",
        "buy ES NQ",
        "AAPL Crossing 230.00",
        "The market is up today.",
        "hello",
        "hello world",
        "!!!",
        "// only a comment",
        "strategy.entry(long)",
        "x = 5",
        "qty=2; price=100",
        "buy ES qty = 2",
        "action: buy",
        "\x00",
        " ".join(["buy", "ES", *["a=1"] * 300]),
    ],
)
def test_texts_that_fit_no_grammar(line: str) -> None:
    assert refusal(line, symbol="ES").code == "unrecognised_text"


@pytest.mark.parametrize("line", ["buy", "exit long", "close all", "flatten", "buy qty=2"])
def test_an_action_alone_misses_its_symbol(line: str) -> None:
    assert refusal(line).code == "missing_symbol"
    assert one(line, symbol="ES").symbol == "ES"


@pytest.mark.parametrize(
    ("line", "code", "field"),
    [
        ("buy ES qty=1,5", "bad_quantity", "qty"),
        ("buy ES qty=0", "bad_quantity", "qty"),
        ("buy -3 ES", "bad_quantity", "quantity"),
        ("buy E$ qty=1", "bad_symbol", "symbol"),
        ("buy {{ticker}} qty=1", "unexpanded_placeholder", "symbol"),
        ("buy %ticker%", "unexpanded_placeholder", "symbol"),
        ("buy ES qty={{strategy.order.contracts}}", "unexpanded_placeholder", "qty"),
        ("ES {{strategy.order.action}}", "unexpanded_placeholder", "action"),
        ("ES %action% qty=1", "unexpanded_placeholder", "action"),
        ("buy ES qty=1 qty=2", "duplicate_key", "qty"),
        ("buy ES qty=1 QTY=2", "duplicate_key", "qty"),
        ("buy 1 ES qty=2", "duplicate_key", "quantity"),
        ("buy ES symbol=NQ", "duplicate_key", "symbol"),
        ("buy ES action=sell", "duplicate_key", "action"),
        ("buy ES type=limit", "bad_price", "limit_price"),
        ("action=buy", "missing_symbol", "symbol"),
        ("symbol=ES", "missing_action", "action"),
        ("action=hold;symbol=ES", "unknown_action", "action"),
        ("action=buy;action=sell;symbol=ES", "duplicate_key", "action"),
        ("action=buy; symbol=ES; qty=1,5", "bad_quantity", "qty"),
        ("7700,hold,ES", "unknown_action", "action"),
        ("7700,buy,E$", "bad_symbol", "symbol"),
    ],
)
def test_texts_that_fit_but_are_wrong(line: str, code: str, field: str) -> None:
    error = refusal(line)

    assert (error.code, error.field) == (code, field)


@pytest.mark.parametrize(
    "text",
    [
        "action=buy; symbol=ES; qty=2",
        "action=buy;symbol=ES;qty=2;",
        "action=buy, symbol=ES, qty=2",
        "action=buy,symbol=ES,qty=2",
        "action=buy\nsymbol=ES\nqty=2",
        "action=buy\r\n\r\n# size\r\nsymbol=ES\r\nqty=2",
        "action = buy ; symbol = ES ; qty = 2",
        "action=buy symbol=ES qty=2",
        "action=buy symbol=ES; qty=2",
        "SIGNAL=BUY;SYMBOL=ES;VOLUME=2",
        "order.action=buy;ticker=ES;order.contracts=2",
        "qty=2; comment=; action=buy; symbol=ES",
        "comment= qty=2 action=buy symbol=ES",
        "action=buy; symbol=ES; qty=2; note=a, b and c",
    ],
)
def test_pairs(text: str) -> None:
    assert one(text) == _BUY_2_ES


def test_the_documented_pairs() -> None:
    assert one("action=close; symbol=FX:GBPJPY; qty=50%") == Signal(
        action=Action.CLOSE,
        symbol="GBPJPY",
        exchange="FX",
        quantity=Decimal(50),
        quantity_type="percent",
    )


def test_thousands_separators_are_no_separators_of_pairs() -> None:
    assert one("action=buy, symbol=ES, qty=12,500").quantity == 12500
    assert one("action=buy; symbol=MNQ 06-25").symbol == "MNQ 06-25"


def test_a_value_that_swallows_a_field_is_refused() -> None:
    assert refusal("action=buy; symbol=ES; price=1 qty=2 now").code == "unrecognised_text"


@pytest.mark.parametrize("rest", ["long XAUUSD q=0.2", "action=long; symbol=XAUUSD; q=0.2"])
def test_a_password_line_above_a_command_or_pairs(rest: str) -> None:
    decoded = read(f"hunter2pass\n{rest}")

    assert decoded.secret == "hunter2pass"
    assert decoded.signals == (Signal(action=Action.BUY, symbol="XAUUSD", quantity=Decimal("0.2")),)


def test_a_password_line_above_several_commands() -> None:
    decoded = read("hunter2pass\nbuy ES\nsell NQ")

    assert [s.symbol for s in decoded.signals] == ["ES", "NQ"]
    assert decoded.secret == "hunter2pass"


@pytest.mark.parametrize("text", ["buy\nlong ES", "a=b\nlong ES", "two words\nlong ES"])
def test_a_first_line_that_is_no_password(text: str) -> None:
    assert refusal(text).code in ("unrecognised_text", "missing_symbol")


def test_below_a_password_the_symbol_must_be_named() -> None:
    assert refusal("MNQ1!\nbuy qty=1", symbol="ES").code == "missing_symbol"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "7700112233,exitshort,NAS100,comment=late",
            Signal(action=Action.CLOSE_SHORT, symbol="NAS100", comment="late"),
        ),
        ("7700112233,buy,ES", _BUY_ES),
        (" 7700112233 , buy , ES , q=2 ", _BUY_2_ES),
        ("tok-en,buy,ES,qty=2,risk=1", _BUY_2_ES),
        ("token,place,ES,side=buy", _BUY_ES),
    ],
)
def test_connector_lines(line: str, expected: Signal) -> None:
    decoded = read(line)

    assert decoded.signals == (expected,)
    assert decoded.secret == line.split(",")[0].strip()


@pytest.mark.parametrize(
    "line",
    [
        "buy,ES,2",
        "7700,buy",
        "7700,buy,ES,0.1",
        "two words,buy,ES",
        "Hello, the market, is up",
        "a=b,buy,ES",
        "7700,buy=1,ES",
    ],
)
def test_lines_with_commas_that_are_no_connector_lines(line: str) -> None:
    assert refusal(line).code == "unrecognised_text"


@pytest.mark.parametrize(
    "name",
    [
        "NAME",
        "MACD (12, 26, close)",
        "[Bot] Trend",
        "{x}",
        '"quoted"',
        "A: order buy @ 9 filled on X. New strategy position is 9",
        "{{strategy.name}}",
        "a=b; c",
    ],
)
def test_the_text_of_tradingview_with_any_name(name: str) -> None:
    found = one(f"{name}: order buy @ 2 filled on M6E1!. New strategy position is 2\n")

    assert found == Signal(
        action=Action.BUY,
        symbol="M6E1!",
        quantity=Decimal(2),
        target=Target.LONG,
        target_size=Decimal(2),
    )


@pytest.mark.parametrize(
    ("fill", "action", "target", "size", "reduce_only"),
    [
        ("buy @ 2 filled on ES. New strategy position is 2", "buy", "long", 2, False),
        ("sell @ 2 filled on ES. New strategy position is -2", "sell", "short", 2, False),
        ("sell @ 2 filled on ES. New strategy position is 0", "close", "flat", 0, False),
        ("sell @ 1 filled on ES. New strategy position is 1", "sell", "long", 1, True),
        ("buy @ 1 filled on ES. New strategy position is -1.5", "buy", "short", 1.5, True),
    ],
)
def test_the_position_in_the_text_of_tradingview_decides(
    fill: str, action: str, target: str, size: float, reduce_only: bool
) -> None:
    found = one(f"S: order {fill}")

    assert (found.action, found.target, found.reduce_only) == (action, target, reduce_only)
    assert found.target_size == Decimal(str(size))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("S: order {{strategy.order.action}} @ 2 filled on ES. New strategy position is 2", 1),
        ("S: order buy @ 2 filled on {{ticker}}. New strategy position is 2", 1),
        ("S: order buy @ {{x}} filled on ES. New strategy position is 2", 1),
        ("S: order buy @ 2 filled on ES. New strategy position is {{x}}", 1),
        ("S: order buy @ 2 filled on ES. New strategy position is NaN", 0),
        ("S: order hold @ 2 filled on ES. New strategy position is 2", 2),
        ("S: order buy @ NaN filled on ES. New strategy position is 2", 3),
    ],
)
def test_a_broken_text_of_tradingview(text: str, code: int) -> None:
    codes = ["unrecognised_text", "unexpanded_placeholder", "unknown_action", "bad_quantity"]

    assert refusal(text).code == codes[code]


def test_stocks_with_a_point_in_the_text_of_tradingview() -> None:
    assert one("S: order buy @ 2 filled on BRK.B. New strategy position is 2").symbol == "BRK.B"


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("sell MGC1! qty=2 sl=2391.5\nbuy 3 M2K1!\nCBOT_MINI:MYM1! short q=1", 3),
        ("7700,buy,ES\n7700,sell,NQ", 2),
        ("action=buy symbol=ES\naction=sell symbol=NQ", 2),
        (
            "S: order buy @ 2 filled on ES. New strategy position is 2\n"
            "S: order sell @ 2 filled on NQ. New strategy position is -2",
            2,
        ),
        ("\n".join(f"buy ES{i}" for i in range(10)), 10),
    ],
)
def test_one_command_per_line_is_a_list(text: str, symbols: int) -> None:
    found = read(text).signals

    assert len({s.symbol for s in found}) == len(found) == symbols


@pytest.mark.parametrize(
    "line",
    [
        "buy ES",
        "7700,buy,ES",
        "action=buy symbol=ES",
        "S: order buy @ 2 filled on ES. New strategy position is 2",
    ],
)
@pytest.mark.parametrize("count", [11, 600])
def test_more_than_ten_lines_are_too_many(line: str, count: int) -> None:
    text = "\n".join(line.replace("ES", f"ES{i}") for i in range(count))

    assert refusal(text).code in (
        ("too_many_signals",) if count == 11 else ("too_many_signals", "unrecognised_text")
    )


def test_one_bad_line_refuses_the_list_and_is_named() -> None:
    error = refusal("buy ES\nsell NQ qty=x\nbuy YM")

    assert (error.code, error.field, error.index) == ("bad_quantity", "qty", 1)
    assert error.detail.startswith("entry 2: ")


def test_a_line_that_fits_nothing_is_named_too() -> None:
    error = refusal("buy ES\nthis is prose\nbuy YM")

    assert (error.code, error.index) == ("unrecognised_text", 1)
