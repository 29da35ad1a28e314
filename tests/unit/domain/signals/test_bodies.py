"""Bodies as they arrive: encodings, JSON good and broken, forms, lists."""

from __future__ import annotations

import json
from decimal import Decimal
from urllib.parse import quote, urlencode

import pytest

from app.domain.signals import Action, BadAlert, Signal, Target, decode
from tests.unit.domain.signals.alerts import FORM, of, one, read, refusal

_BUY_ES = Signal(action=Action.BUY, symbol="ES")
_BUY_2_ES = Signal(action=Action.BUY, symbol="ES", quantity=Decimal(2))
_JSON = '{"action": "buy", "symbol": "ES", "qty": 2}'


def test_the_documented_reversal() -> None:
    found = one(
        '{"ticker": "MESM2026", "action": "sell", "contracts": "3", "market_position": "short",\n'
        ' "prev_market_position": "long", "market_position_size": "1",'
        ' "time": "2026-04-14T13:45:00Z"}'
    )

    assert of(found, "action", "symbol", "quantity") == (Action.SELL, "MESM2026", 3)
    assert of(found, "target", "target_size", "previous") == ("short", 1, "long")


def test_the_documented_exit() -> None:
    found = one(
        '{"symbol": "COINBASE:ETHUSD", "strategy": {"order_action": "sell",'
        ' "order_contracts": 0.4,\n "market_position": "flat", "prev_market_position": "long"}}'
    )

    assert found == Signal(
        action=Action.CLOSE,
        symbol="ETHUSD",
        exchange="COINBASE",
        target=Target.FLAT,
        previous=Target.LONG,
    )


@pytest.mark.parametrize(
    "body",
    [
        _JSON,
        '{"qty": 2, "symbol": "ES", "action": "buy"}',
        '{"action": "buy", "symbol": "ES", "qty": "2", "more": [1, {"a": null}]}',
        '{"ACTION": "BUY", "Symbol": "es", "QTY": "2"}',
        '{\t"action":\t"buy",\r\n"symbol": "ES",\r\n"qty": 2}',
        '{"\\u0061ction": "\\u0062uy", "symbol": "ES", "qty": 2}',
        '{"action": "buy", "symbol": "ES", "qty": 2, "comment2": "two\nlines\tand a tab"}',
        '{"action": "buy", "action": "buy", "symbol": "ES", "qty": 2}',
        '{"action": "buy", "symbol": "ES", "qty": 2, "x": ' + "[" * 19 + "]" * 19 + "}",
        '{"action": "buy", "symbol": "ES", "qty": 2, "x": ' + "9" * 5000 + "}",
        '{"action": "buy", "symbol": "ES", "qty": 2, "x": 1e999999999999999999999}',
        '{"action": "buy", "symbol": "ES", "qty": 2, "x": "' + "[" * 5000 + '"}',
    ],
)
def test_json_that_is_accepted_as_it_is(body: str) -> None:
    decoded = read(body)

    assert decoded.signals == (_BUY_2_ES,)
    assert decoded.warnings == ()


@pytest.mark.parametrize(
    ("body", "warning"),
    [
        ("\ufeff" + _JSON, "byte-order mark"),
        (_JSON + "\n", "blanks"),
        ("\r\n  " + _JSON, "blanks"),
        ('{"action": "buy", "symbol": "ES", "qty": 2, "x": NaN}', "NaN"),
        ('{"action": "buy", "symbol": "ES", "qty": 2, "x": Infinity}', "Infinity"),
        ('{"action": "buy", "symbol": "ES", "qty": 2, "x": -Infinity}', "-Infinity"),
        ('{"action": "buy", "symbol": "ES", "qty": 2,}', "trailing comma"),
        ('{"action": "buy", "symbol": "ES", "qty": 2, "x": [1, 2, ], \n}', "trailing comma"),
        ("{“action”: “buy”, “symbol”: “ES”, “qty”: 2}", "typographic"),
        ('{”action“: "buy", „symbol“: "ES", "qty": 2}', "typographic"),
        ("{'action': 'buy', 'symbol': 'ES', 'qty': 2}", "single quotes"),
        ("{'action': 'buy', 'symbol': 'ES', 'qty': 2, 'x': None, 'y': True}", "single quotes"),
        ("{'action': 'buy', 'symbol': 'ES', 'qty': 2, 'x': \"it's\"}", "single quotes"),
        ("{'action': 'buy', 'symbol': 'ES', 'qty': 2, 'x': 'say \"it\\'s\" \\x41'}", "single"),
        ("{'action': 'buy', 'symbol': 'ES', 'qty': 2, 'x': nan, 'y': -inf}", "single quotes"),
    ],
)
def test_json_that_is_repaired_with_a_warning(body: str, warning: str) -> None:
    decoded = read(body)

    assert decoded.signals == (_BUY_2_ES,)
    assert any(warning in w for w in decoded.warnings)


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[",
        '{"action": "buy"',
        '{"action": "buy", "symbol": "E',
        '{"action": "buy" "symbol": "ES"}',
        '{"action" "buy"}',
        '{"action": , "symbol": "ES"}',
        '{"action": "buy", "order":}',
        '{"action": "buy", "comment": "say "hi"", "symbol": "ES"}',
        '{"action": "buy", /* comment */ "symbol": "ES"}',
        '{"action": "buy", // comment\n "symbol": "ES"}',
        '{action: "buy", symbol: "ES"}',
        '{"action": buy, "symbol": "ES"}',
        '{"action": "buy", "symbol": "ES",,}',
        '{"action": "buy", "symbol": "ES", "x": [,]}',
        "{,}",
        '{"action": "buy", "symbol": "ES"} {"action": "sell", "symbol": "ES"}',
        '{"action": "buy", "symbol": "ES"}\n{"action": "sell", "symbol": "ES"}',
        '{"action": "buy", "symbol": "ES", "x": None}',
        "{'action': 'buy', 'comment': 'it's', 'symbol': 'ES'}",
        "{‘action’: ‘buy’}",
        '{\\"action\\": \\"buy\\"}',
        '{"action": "buy", "symbol": "ES", "qty": 02}',
        '{"x": ' + "[" * 20 + "]" * 20 + "}",
        "[" * 60_000,
        '{"a":' * 10_000,
    ],
)
def test_json_that_cannot_be_read(body: str) -> None:
    error = refusal(body)

    assert (error.code, error.status) == ("malformed_json", 400)


def test_malformed_json_says_where() -> None:
    error = refusal('{"action": "buy",\n "order":}')

    assert "line 2, column 10" in error.detail
    assert '"order":}' in error.detail


def test_the_place_is_that_of_the_body_as_sent_even_after_repairs() -> None:
    error = refusal("{'action': 'buy',\n 'x': [1, 2,],\n 'symbol' 'ES'}")

    assert "line 3, column 11" in error.detail


@pytest.mark.parametrize(
    "body",
    [
        '{"action": "buy", "symbol": "ES", "qty": {{strategy.order.contracts}}}',
        '{"action": {{strategy.order.action}}, "symbol": "ES"}',
        '{{"action": "buy"}}',
        '{"action": "{{strategy.order.action}}", "symbol": "ES"}',
        '{"action": "buy", "symbol": "{{ticker}}"}',
        '{"action": "buy", "symbol": "ES", "qty": "{{strategy.order.contracts}}"}',
        '{"action": "%side%", "symbol": "ES"}',
        '{"action": "buy", "symbol": "%ticker%"}',
        '{"action": "buy", "symbol": "ES", "qty": "%qty%"}',
        '{"action": "flatten", "symbol": "ES", "qty": "{{strategy.order.contracts}}"}',
    ],
)
def test_placeholders_that_were_not_filled_in(body: str) -> None:
    error = refusal(body)

    assert error.code == "unexpanded_placeholder"
    assert "message box" in error.detail


def test_placeholders_elsewhere_do_no_harm() -> None:
    body = '{"action": "buy", "symbol": "ES", "price": "{{close}}", "comment": "{{x}}"}'

    assert one(body).price is None


@pytest.mark.parametrize(
    "body",
    [
        '{"action": "buy", "action": "sell", "symbol": "ES"}',
        '{"action": "buy", "symbol": "ES", "x": {"a": 1, "a": 2}}',
        '{"action": "buy", "Action": "sell", "symbol": "ES"}',
        '{"action": "buy", "symbol": "ES", "order_id": 1, "orderId": 2}',
        '{"action": "buy", "symbol": "ES", "qty": 1, "qty": null}',
        "{'action': 'buy', 'action': 'sell', 'symbol': 'ES'}",
    ],
)
def test_one_key_with_two_values(body: str) -> None:
    assert refusal(body).code == "duplicate_key"


def test_unknown_keys_may_differ_by_case() -> None:
    assert one('{"action": "buy", "symbol": "ES", "vol": 1, "Vol": 2}') == _BUY_ES


@pytest.mark.parametrize(
    "body",
    ["1", "-1.5", "1e5", "true", "false", "null", "[]", "[1]", '["buy"]', "[[]]", "[null]",
     '[{"action": "buy", "symbol": "ES"}, 5]', '"5"', '"\\"x\\""'],
)  # fmt: skip
def test_json_that_is_no_object(body: str) -> None:
    assert refusal(body).code == "not_an_object"


@pytest.mark.parametrize("inner", [_JSON, "buy ES qty=2", "action=buy\nsymbol=ES\nqty=2"])
def test_a_json_text_is_unwrapped_once(inner: str) -> None:
    assert one(json.dumps(inner)) == _BUY_2_ES
    assert refusal(json.dumps(json.dumps(inner))).code in ("not_an_object", "unrecognised_text")


@pytest.mark.parametrize("body", ["", " ", "\n\r\n\t", "\ufeff", '""', '" "'])
def test_empty_bodies(body: str) -> None:
    assert refusal(body).code == "empty_body"


def test_bodies_over_64_kib_are_refused() -> None:
    fitting = _JSON[:-1] + ', "x": "' + "x" * (64 * 1024 - len(_JSON) - 9) + '"}'

    assert len(fitting) == 64 * 1024
    assert one(fitting) == _BUY_2_ES
    error = refusal(fitting + " ")
    assert (error.code, error.status) == ("body_too_large", 413)


@pytest.mark.parametrize("body", [b"\xff\xfe{\x00", b'{"action": "\xe4"}', b"buy ES \x80"])
def test_bodies_that_are_not_utf_8(body: bytes) -> None:
    assert refusal(body).code == "bad_encoding"


@pytest.mark.parametrize(
    "content_type",
    [None, "", "application/json", "text/plain; charset=utf-8", FORM, f"{FORM}; charset=utf-8"],
)
@pytest.mark.parametrize("body", [_JSON, "buy ES qty=2", "action=buy; symbol=ES; qty=2"])
def test_the_content_type_does_not_decide(body: str, content_type: str | None) -> None:
    assert one(body, content_type) == _BUY_2_ES


@pytest.mark.parametrize("content_type", [FORM, FORM.upper(), None])
def test_forms(content_type: str | None) -> None:
    body = urlencode({"action": "sell", "ticker": "CME_MINI:MNQ1!", "qty": "2", "comment": "a b"})

    found = one(body, content_type)

    assert (found.action, found.symbol, found.exchange) == (Action.SELL, "MNQ1!", "CME_MINI")
    assert of(found, "quantity", "comment") == (2, "a b")


def test_a_form_with_blanks_that_were_not_encoded() -> None:
    assert one("action=buy&symbol=ES&comment=hello world", FORM).comment == "hello world"


@pytest.mark.parametrize("name", ["payload", "message", "body", "data", "text"])
@pytest.mark.parametrize("inner", [_JSON, "buy ES qty=2", "action=buy;symbol=ES;qty=2"])
def test_a_form_with_one_field_holds_the_real_body(name: str, inner: str) -> None:
    assert one(f"{name}={quote(inner)}", FORM) == _BUY_2_ES


def test_a_payload_of_json_is_read_without_the_header_too() -> None:
    assert one(f"payload={quote(_JSON)}") == _BUY_2_ES


def test_form_fields_with_two_values() -> None:
    assert refusal("action=buy&action=sell&symbol=ES", FORM).code == "duplicate_key"


def test_forms_that_are_not_utf_8() -> None:
    assert refusal("action=buy&symbol=%FF", FORM).code == "bad_encoding"


def test_forms_with_absurdly_many_fields() -> None:
    assert refusal("&".join(["a=b"] * 5000), FORM).code == "unrecognised_text"


@pytest.mark.parametrize("count", [1, 2, 10])
def test_lists_keep_their_order(count: int) -> None:
    body = json.dumps([{"action": "buy", "symbol": f"ES{i}"} for i in range(count)])

    assert [s.symbol for s in read(body).signals] == [f"ES{i}" for i in range(count)]


def test_more_than_ten_entries_are_too_many() -> None:
    body = json.dumps([{"action": "buy", "symbol": "ES"}] * 11)

    assert refusal(body).code == "too_many_signals"


def test_texts_inside_a_list_count_too() -> None:
    entry = {"message": "\n".join(f"buy ES{i}" for i in range(6))}

    assert refusal(json.dumps([entry, entry])).code == "too_many_signals"


@pytest.mark.parametrize(
    ("entry", "code", "field"),
    [
        ({"action": "hold", "symbol": "ES"}, "unknown_action", "action"),
        ({"action": "buy", "symbol": "ES", "qty": 0}, "bad_quantity", "qty"),
        (5, "not_an_object", None),
        ({"action": "buy", "Action": "sell"}, "duplicate_key", "action"),
    ],
)
def test_one_bad_entry_refuses_the_list_and_is_named(
    entry: object, code: str, field: str | None
) -> None:
    good = {"action": "buy", "symbol": "ES"}

    error = refusal(json.dumps([good, good, entry]))

    assert (error.code, error.field, error.index) == (code, field, 2)


def test_warnings_of_a_list_name_the_entry() -> None:
    good = {"action": "buy", "symbol": "ES"}

    decoded = read(json.dumps([good, good | {"price": "NaN"}]))

    assert decoded.warnings == ("entry 2: price is 'NaN': ignored",)


def test_the_refusal_of_a_single_order_has_no_index() -> None:
    assert refusal('{"action": "hold"}').index is None


def test_quoted_values_are_short_and_masked() -> None:
    long = refusal(json.dumps({"action": "x" * 5000}))
    masked = refusal(json.dumps({"action": "go token=hunter2hunter2"}))

    assert len(long.detail) < 130
    assert "hunter2" not in masked.detail


def test_refusals_are_errors_of_the_app() -> None:
    with pytest.raises(BadAlert) as caught:
        decode(b"")

    assert (caught.value.title, caught.value.status) == ("Bad alert", 400)
