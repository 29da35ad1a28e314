"""Names of fields, where they are looked for, and the words in them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise

import pytest

from app.domain.signals import Action, Signal, Target, decode
from app.domain.signals.words import ACTIONS, NEUTRAL
from tests.unit.domain.signals.alerts import fields, of, one, read, refused, signal

_ACTION_NAMES = [
    "action",
    "side",
    "signal",
    "order_action",
    "strategy_order_action",
    "direction",
    "order",
    "data",
    "cmd",
    "command",
    "b",
    "type",
]
_SYMBOL_NAMES = ["symbol", "ticker", "instrument", "pair", "market", "tv_instrument", "s"]
_QUANTITY_NAMES = [
    "quantity",
    "qty",
    "contracts",
    "order_contracts",
    "size",
    "amount",
    "volume",
    "lots",
    "vol_lots",
    "units",
    "q",
]
_PREVIOUS_NAMES = [
    "prev_market_position",
    "previous_position",
    "prev_position",
    "strategy_prev_market_position",
]
_PREVIOUS_SIZE_NAMES = ["prev_market_position_size", "previous_position_size", "prev_position_size"]


def _dumped(**values: object) -> str:
    return json.dumps(values)


@pytest.mark.parametrize("name", _ACTION_NAMES)
def test_every_name_of_the_action_is_read(name: str) -> None:
    assert one(_dumped(**{name: "sell", "symbol": "ES"})).action is Action.SELL


@pytest.mark.parametrize(("first", "second"), list(pairwise(_ACTION_NAMES)))
def test_the_earlier_action_name_wins(first: str, second: str) -> None:
    body = _dumped(**{second: "sell", first: "buy", "symbol": "ES"})

    assert one(body).action is Action.BUY


@pytest.mark.parametrize("name", _SYMBOL_NAMES)
def test_every_name_of_the_symbol_is_read(name: str) -> None:
    assert one(_dumped(**{"action": "buy", name: "ES"})).symbol == "ES"


@pytest.mark.parametrize(("first", "second"), list(pairwise(_SYMBOL_NAMES)))
def test_the_earlier_symbol_name_wins(first: str, second: str) -> None:
    assert one(_dumped(**{second: "NQ", first: "ES", "action": "buy"})).symbol == "ES"


@pytest.mark.parametrize("name", _QUANTITY_NAMES)
def test_every_name_of_the_quantity_is_read(name: str) -> None:
    assert signal(**{name: "3"}).quantity == 3


@pytest.mark.parametrize(("first", "second"), list(pairwise(_QUANTITY_NAMES)))
def test_the_earlier_quantity_name_wins(first: str, second: str) -> None:
    assert signal(**{second: "7", first: "3"}).quantity == 3


@pytest.mark.parametrize("empty", ["", "  ", None])
def test_an_empty_value_leaves_the_word_to_the_next_name(empty: str | None) -> None:
    body = {"action": empty, "side": "sell", "symbol": empty, "ticker": "ES", "qty": empty}
    found = one(json.dumps(body | {"contracts": 4}))

    assert of(found, "action", "symbol", "quantity") == (Action.SELL, "ES", 4)


@pytest.mark.parametrize("name", ["market_position", "position", "sentiment"])
def test_every_name_of_the_target_is_read(name: str) -> None:
    assert signal(**{name: "long"}).target is Target.LONG


@pytest.mark.parametrize("name", _PREVIOUS_NAMES)
def test_every_name_of_the_previous_position_is_read(name: str) -> None:
    assert signal(**{name: "short"}).previous is Target.SHORT


@pytest.mark.parametrize("name", ["market_position_size", "position_size"])
def test_every_name_of_the_target_size_is_read(name: str) -> None:
    assert signal(**{name: "2", "market_position": "long"}).target_size == 2


@pytest.mark.parametrize("name", _PREVIOUS_SIZE_NAMES)
def test_every_name_of_the_previous_size_is_read_without_its_sign(name: str) -> None:
    assert signal(**{name: "-2"}).previous_size == 2


@pytest.mark.parametrize("name", ["price", "close", "last", "signal_price", "entry_price"])
def test_every_name_of_the_price_is_read(name: str) -> None:
    assert signal(**{name: "4500.25"}).price == Decimal("4500.25")


@pytest.mark.parametrize("name", ["tp", "take_profit", "tp_price", "takeProfit.limitPrice"])
def test_every_name_of_the_take_profit_is_read(name: str) -> None:
    assert signal(**{name: "4600"}).take_profit == 4600


@pytest.mark.parametrize("name", ["sl", "stop_loss", "sl_price", "stopLoss.stopPrice"])
def test_every_name_of_the_stop_loss_is_read(name: str) -> None:
    assert signal(**{name: "4400"}).stop_loss == 4400


def test_objects_for_take_profit_and_stop_loss_give_their_prices() -> None:
    found = signal(takeProfit={"limitPrice": 4600.5}, stopLoss={"type": "stop", "stopPrice": 4400})

    assert of(found, "take_profit", "stop_loss") == (Decimal("4600.5"), 4400)


@pytest.mark.parametrize("name", ["interval", "timeframe"])
def test_every_name_of_the_interval_is_read(name: str) -> None:
    assert signal(**{name: 5}).interval == "5"


@pytest.mark.parametrize("name", ["id", "order_id", "client_id"])
def test_every_name_of_the_order_id_is_read(name: str) -> None:
    assert signal(**{name: "Long 1"}).order_id == "Long 1"


@pytest.mark.parametrize("name", ["stop_price", "trigger_price"])
def test_every_name_of_the_stop_price_is_read(name: str) -> None:
    found = signal(type="stop", **{name: "4510"})

    assert of(found, "order_type", "stop_price") == ("stop", 4510)


@pytest.mark.parametrize(
    "name", ["order-action", "Order.Action", "order action", "orderAction", "ORDER_ACTION"]
)
def test_names_are_the_same_in_every_spelling(name: str) -> None:
    assert one(_dumped(**{name: "sell", "TICKER": "ES"})).action is Action.SELL


@pytest.mark.parametrize(
    "body",
    [
        {"order": {"action": "sell", "contracts": 2}, "ticker": "ES"},
        {"strategy": {"order_action": "sell", "order_contracts": 2, "ticker": "ES"}},
        {"market": {"symbol": "ES", "action": "sell", "quantity": 2}},
        {"general": {"ticker": "ES"}, "signal": {"action": "sell", "q": 2}},
        {"data": {"s": "ES", "b": "sell", "q": 2}},
        {"strategy_info": {"action": "sell"}, "alert": {"symbol": "ES", "qty": 2}},
        {"strategyInfo": {"action": "sell"}, "Alert": {"symbol": "ES", "qty": 2}},
    ],
)
def test_nested_objects_are_searched(body: dict[str, object]) -> None:
    assert one(json.dumps(body)) == Signal(action=Action.SELL, symbol="ES", quantity=Decimal(2))


def test_positions_inside_a_market_object_are_read() -> None:
    market = {"position": "long", "previous_position": "flat"}
    found = signal(market=market)

    assert (found.target, found.previous) == (Target.LONG, Target.FLAT)


def test_the_top_level_wins_over_nested_objects() -> None:
    found = one(_dumped(action="buy", symbol="ES", order={"action": "sell", "quantity": 2}))

    assert of(found, "action", "quantity") == (Action.BUY, 2)


def test_only_one_level_is_searched() -> None:
    deep = {"symbol": "ES", "strategy": {"order": {"action": "buy"}}}

    assert refused(action=None, **deep).code == "missing_action"


def test_order_data_market_and_position_count_only_as_text() -> None:
    found = one('{"order": 1, "data": 2, "market": 3, "position": 4, "b": "buy", "s": "ES"}')

    assert found == Signal(action=Action.BUY, symbol="ES")


def test_type_is_an_action_or_an_order_type() -> None:
    by_type = one(_dumped(type="buy", symbol="ES"))
    order_type = signal(type="market")

    assert (by_type.action, by_type.order_type) == (Action.BUY, None)
    assert (order_type.action, order_type.order_type) == (Action.BUY, "market")


def test_a_type_that_is_no_action_word_is_not_an_unknown_action() -> None:
    assert refused(action=None, type="indicator").code == "missing_action"


def test_close_is_a_price_and_never_an_action() -> None:
    assert refused(action=None, close="4500").code == "missing_action"
    assert signal(close="4500").price == 4500


def test_position_size_is_never_the_quantity() -> None:
    assert signal(position_size="3").quantity is None


@pytest.mark.parametrize(("word", "action"), ACTIONS.items())
def test_every_action_word_is_known(word: str, action: Action) -> None:
    assert signal(action=word).action is action
    assert signal(action=f" {word.upper().replace('_', '-')} ").action is action
    assert signal(action=word.replace("_", " ")).action is action


def test_the_words_are_those_of_the_documented_table() -> None:
    documented = {
        Action.BUY: "buy, long, bull, bullish, enter_long, entry_long, open_long, go_long,"
        " buy_to_open",
        Action.SELL: "sell, short, bear, bearish, enter_short, entry_short, open_short, go_short,"
        " sell_short, sell_to_open",
        Action.CLOSE: "close, exit, flat, flatten, close_all, closeall, exit_all, close_position,"
        " closeposition, flatten_all",
        Action.CLOSE_LONG: "close_long, closelong, exit_long, exitlong, sell_to_close",
        Action.CLOSE_SHORT: "close_short, closeshort, exit_short, exitshort, buy_to_close,"
        " buy_to_cover",
        Action.CANCEL: "cancel, cancel_all, cancelall, cancel_orders, cancelorders",
        Action.ADD: "add, add_to_position, scale_in",
        Action.REVERSE: "reverse, reverse_position, reverseposition, flip",
        Action.BREAKEVEN: "breakeven, break_even, be",
    }

    assert {w: a for a, words in documented.items() for w in words.split(", ")} == ACTIONS
    assert set(NEUTRAL) == {"open", "enter", "entry", "place", "signal", "order"}


@pytest.mark.parametrize("word", sorted(NEUTRAL))
def test_a_verb_without_direction_leaves_it_to_the_next_field(word: str) -> None:
    assert signal(action=word, side="sell").action is Action.SELL
    assert refused(action=word).code == "missing_action"


@pytest.mark.parametrize(
    "word", ["hold", "buylimit", "start_bot", "buyLimit", "b", "1", 1, True, ["buy"], {"x": 1}]
)
def test_any_other_word_is_an_unknown_action(word: object) -> None:
    error = refused(action=word)

    assert (error.code, error.field) == ("unknown_action", "action")


@pytest.mark.parametrize(
    ("word", "target"),
    [("long", "long"), ("Bullish", "long"), ("SHORT", "short"), ("bearish", "short")],
)
def test_target_words(word: str, target: str) -> None:
    assert signal(action="close", sentiment=word).target == target


@pytest.mark.parametrize("word", ["neutral", "up", "0", 2])
def test_a_target_that_cannot_be_read_is_refused(word: object) -> None:
    error = refused(market_position=word)

    assert (error.code, error.field) == ("unknown_action", "market_position")


@pytest.mark.parametrize("word", ["{{strategy.market_position}}", "%position%", "NaN"])
def test_a_target_that_was_not_filled_in_is_ignored_with_a_warning(word: str) -> None:
    decoded = fields(market_position=word)

    assert decoded.signals[0].target is None
    assert "market_position" in decoded.warnings[0]


def test_a_previous_position_that_cannot_be_read_is_ignored_with_a_warning() -> None:
    decoded = fields(prev_market_position="unsure")

    assert decoded.signals[0].previous is None
    assert "prev_market_position" in decoded.warnings[0]


@pytest.mark.parametrize("name", ["message", "msg", "text", "content", "alert_message"])
@pytest.mark.parametrize(
    "inner",
    ["sell ES qty=2", '{"action": "sell", "symbol": "ES", "qty": 2}', "action=sell;s=ES;q=2"],
)
def test_without_an_action_a_message_is_read_as_a_body(name: str, inner: str) -> None:
    decoded = read(_dumped(**{name: inner}))

    assert decoded.signals == (Signal(action=Action.SELL, symbol="ES", quantity=Decimal(2)),)
    assert decoded.warnings == (f"order read from {name}",)


def test_fields_around_a_message_fill_what_it_leaves_open() -> None:
    found = one(_dumped(ticker="ES", contracts=2, market_position="flat", message="sell"))

    assert found == Signal(action=Action.CLOSE, symbol="ES", target=Target.FLAT, target_size=None)


def test_a_message_is_not_read_when_there_is_an_action() -> None:
    assert signal(message="sell ES qty=9").action is Action.BUY


def test_a_message_inside_a_message_is_not_read() -> None:
    inner = _dumped(symbol="ES", message="buy ES")

    assert refused(action=None, message=inner).code == "missing_action"


def test_prose_in_a_message_is_refused_unless_the_target_is_flat() -> None:
    body = {"ticker": "ES", "message": "Price is at the line"}

    assert refused(action=None, symbol=None, **body).code == "unrecognised_text"
    assert one(json.dumps(body | {"sentiment": "flat"})).action is Action.CLOSE


@pytest.mark.parametrize("value", ["trader", None, True, 5, [], {"a": 1}, [{"action": "sell"}]])
def test_unknown_fields_are_ignored_without_a_word(value: object) -> None:
    decoded = fields(unknown=value)

    assert decoded == fields()
    assert decoded.warnings == ()


def test_everything_a_signal_can_carry_is_read() -> None:
    body = _dumped(
        action="buy",
        ticker="CME_MINI:MNQ1!",
        contracts=2,
        price="21000.25",
        order_type="limit",
        limit_price=21000,
        stop_price="20990",
        tp=21100.5,
        sl="20900",
        market_position="long",
        market_position_size=2,
        prev_market_position="flat",
        prev_market_position_size="0",
        interval="5",
        id="Long",
        comment="on time",
        timenow="2026-04-14T13:45:09Z",
        time="2026-04-14T13:45:00Z",
    )

    assert decode(body.encode()).signals == (
        Signal(
            action=Action.BUY,
            symbol="MNQ1!",
            exchange="CME_MINI",
            quantity=Decimal(2),
            target=Target.LONG,
            target_size=Decimal(2),
            previous=Target.FLAT,
            previous_size=Decimal(0),
            fired_at=datetime(2026, 4, 14, 13, 45, 9, tzinfo=UTC),
            price=Decimal("21000.25"),
            order_type="limit",
            limit_price=Decimal(21000),
            stop_price=Decimal(20990),
            take_profit=Decimal("21100.5"),
            stop_loss=Decimal(20900),
            time="2026-04-14T13:45:00Z",
            interval="5",
            order_id="Long",
            comment="on time",
        ),
    )


@pytest.mark.parametrize(
    "name",
    [
        "key", "secret", "token", "passphrase", "password", "pin", "apikey", "api_key",
        "api_secret", "auth_key", "API-Key", "apiKey",
    ],
)  # fmt: skip
def test_the_passphrase_of_the_body_is_handed_over(name: str) -> None:
    assert fields(**{name: "hunter2"}).secret == "hunter2"
    assert fields(strategy={name: 1234}).secret == "1234"
    assert "hunter2" not in repr(fields(**{name: "hunter2"}))


def test_halves_of_surrogate_pairs_do_not_leave_the_decoder() -> None:
    found = one(b'{"action":"buy","symbol":"ES","comment":"a\\ud800b"}')

    assert found.comment == "a?b"
