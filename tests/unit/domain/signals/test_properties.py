"""What holds for every body, however hostile."""

from __future__ import annotations

import json
from decimal import Decimal
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.signals import BadAlert, Decoded, decode, invert, mask

_CODES = {
    "empty_body", "body_too_large", "bad_encoding", "malformed_json", "not_an_object",
    "duplicate_key", "missing_action", "unknown_action", "missing_symbol", "bad_symbol",
    "bad_quantity", "bad_price", "unexpanded_placeholder", "conflicting_fields",
    "unrecognised_text", "too_many_signals",
}  # fmt: skip
_WORDS = [
    "buy", "sell", "close", "flat", "long", "short", "action", "symbol", "qty", "ES", "MNQ1!",
    "market_position", "prev_market_position", "position_size", "type", "limit", "price", "secret",
    "key", "token", "message", "=", ":", ";", ",", "&", "@", "\n", " ", "{", "}", "[", "]", '"',
    "'", "“", "”", "\\", "\\u0041", "{{", "}}", "%x%", "1", "-2", "0", "NaN", "1e999", "%", "true",
    "null", "//", "#", "order buy @ 2 filled on ES. New strategy position is 2", ": ", "\ufeff",
    "\x00", "\r\n", "é", "😀", "2026-04-14T13:45:00Z", "reverse", "cancel", "payload=",
]  # fmt: skip

_bodies = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=300).map(lambda s: s.encode("utf-8", "replace")),
    st.lists(st.sampled_from(_WORDS), max_size=30).map(lambda w: "".join(w).encode()),
    st.lists(st.sampled_from(_WORDS), max_size=30).map(lambda w: " ".join(w).encode()),
)
_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.sampled_from(_WORDS),
        st.text(max_size=20),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(_WORDS) | st.text(max_size=10), inner, max_size=6),
    ),
    max_leaves=20,
)
_content_types = st.sampled_from(
    [None, "application/json", "text/plain; charset=utf-8", "application/x-www-form-urlencoded"]
)


def _check_refusal(error: BadAlert) -> None:
    assert error.code in _CODES
    assert error.status == (413 if error.code == "body_too_large" else 400)
    assert len(error.detail.encode()) < 800


def _checked(body: bytes, content_type: str | None = None) -> Decoded | None:
    """Decode a body of any kind: signals that make sense, or a refusal with a known code."""
    try:
        decoded = decode(body, content_type, default_symbol="ES")
    except BadAlert as e:
        _check_refusal(e)
        return None
    assert 1 <= len(decoded.signals) <= 10
    for signal in decoded.signals:
        assert 1 <= len(signal.symbol) <= 40
        assert signal.quantity is None or 0 < signal.quantity < Decimal(10) ** 15
        assert signal.target_size is None or signal.target_size >= 0
        assert all(text is None or text.encode() for text in (signal.comment, signal.order_id))
        assert invert(invert(signal)[0])[0] == invert(invert(invert(invert(signal)[0])[0])[0])[0]
    return decoded


@given(_bodies, _content_types)
def test_any_body_is_read_or_refused(body: bytes, content_type: str | None) -> None:
    _checked(body, content_type)
    mask(body).encode()


@given(_values)
def test_any_json_is_read_or_refused(value: object) -> None:
    body = json.dumps(value).encode()

    _checked(body)
    mask(body).encode()


@given(
    st.dictionaries(
        st.sampled_from(["action", "side", "symbol", "ticker", "qty", "price", "type", "tp", "time",
                         "market_position", "prev_market_position", "position_size", "strategy"]),
        _values,
    )
)  # fmt: skip
def test_any_values_of_known_names_are_read_or_refused(value: dict[str, object]) -> None:
    _checked(json.dumps(value).encode())


_names = st.text("abcdefghijklmnopqrstuvwxyzXYZ0123456789 -", min_size=1, max_size=20).map(
    str.strip
)
_prices = st.decimals(min_value=1, max_value=10**6, places=2).map(str)
_fields = st.fixed_dictionaries(
    {
        "action": st.sampled_from(["buy", "sell", "close", "exit_long", "cancel", "reverse"]),
        "symbol": st.sampled_from(["ES", "CME_MINI:MNQ1!", "BTC/USDT:USDT", "BRK.B", "MNQ 06-25"]),
    },
    optional={
        "qty": st.sampled_from(["1", "2.5", "50%", "12,500", "+3", "0.0001"]),
        "price": _prices,
        "tp": _prices,
        "sl": _prices,
        "comment": _names.filter(bool),
        "id": st.text("abcXYZ019", min_size=1, max_size=10),
        "interval": st.sampled_from(["1", "5", "1D"]),
        "timenow": st.sampled_from(["2026-04-14T13:45:00Z", "1776174300", "1776174300000"]),
        "secret": st.text("abcXYZ019_", min_size=1, max_size=10),
        "position_size": st.integers(-3, 3).map(str),
    },
)


@given(_fields, st.randoms())
def test_the_same_message_means_the_same_in_every_form(
    fields: dict[str, str], random: object
) -> None:
    items = list(fields.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    said = dict(items)

    as_json = decode(json.dumps(said).encode())

    for body in (
        urlencode(said),
        "; ".join(f"{k}={v}" for k, v in items),
        "\n".join(f"{k} = {v}" for k, v in items),
        ", ".join(f"{k}={v}" for k, v in items),
        json.dumps(json.dumps(said)),
        f"payload={urlencode({'': json.dumps(said)})[1:]}",
        json.dumps({"strategy": said}),
    ):
        assert decode(body.encode()) == as_json
    assert decode(repr(said).encode()).signals == as_json.signals
    assert decode(json.dumps([said]).encode()).signals == as_json.signals
    assert decode(json.dumps({"message": json.dumps(said)}).encode()).signals == as_json.signals


_secrets = st.text(
    st.characters(
        codec="utf-8", exclude_characters="\r\n", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]
    ),
    min_size=6,
    max_size=30,
)
_secret_names = st.sampled_from(
    ["key", "secret", "token", "passphrase", "password", "pin", "apikey", "api_key", "api_secret",
     "auth_key", "apiKey", "API-KEY"]
)  # fmt: skip


_MARKS = ("Qx7", "Wx8", "Zx9")


def _planted(secret: str) -> str:
    """A secret that is recognised by its beginning, its middle or its end."""
    half = len(secret) // 2
    return f"{_MARKS[0]}{secret[:half]}{_MARKS[1]}{secret[half:]}{_MARKS[2]}"


def _is_hidden(masked: str) -> bool:
    return not any(mark in masked for mark in _MARKS)


def _said_of(body: str) -> str:
    """The error text of a refused body, nothing for a good one."""
    try:
        decode(body.encode())
    except BadAlert as e:
        return e.detail
    return ""


@given(_secrets, _secret_names, _values, st.booleans())
def test_json_never_leaks_its_secret(secret: str, name: str, value: object, is_ascii: bool) -> None:
    planted = _planted(secret)
    found = {"x": value, name: planted, "strategy": {name: planted, "y": [{name: planted}]}}

    for indent in (None, 2):
        body = json.dumps(found, indent=indent, ensure_ascii=is_ascii)
        assert _is_hidden(mask(body))
        assert _is_hidden(mask(json.dumps(body)))
        assert _is_hidden(mask(json.dumps({"message": body})))
        assert _is_hidden(mask(urlencode({"payload": body})))


@given(_secrets, _secret_names, st.integers(0, 200))
def test_truncated_json_never_leaks_its_secret(secret: str, name: str, cut: int) -> None:
    planted = _planted(secret)
    body = json.dumps({"action": "buy", name: planted, "symbol": "ES"}, ensure_ascii=False)

    truncated = body[: max(1, len(body) - cut)]

    assert _is_hidden(mask(truncated))
    assert _is_hidden(_said_of(truncated))


@given(_secrets, _secret_names)
def test_forms_never_leak_their_secret(secret: str, name: str) -> None:
    planted = _planted(secret)

    assert _is_hidden(mask(urlencode({"action": "buy", name: planted, "symbol": "ES"})))


@given(
    st.text("abcXYZ0123456789!$*+-./<>?@^_|~()", min_size=4, max_size=30),
    _secret_names,
    st.sampled_from(
        ["{n}={s}", "{n}={s};action=buy", "action=buy; {n}={s}; symbol=ES", "{n}={s}\naction=buy",
         "buy ES {n}={s} qty=2", "{s}\nbuy ES", "{s},buy,ES", "{s},hold,ES,q=1",
         "action=buy,{n}={s},symbol=ES", "{n} = {s}, action = buy"]
    ),
)  # fmt: skip
def test_texts_never_leak_their_secret(secret: str, name: str, template: str) -> None:
    planted = _planted(secret)
    body = template.format(n=name, s=planted)

    assert _is_hidden(mask(body))
    assert _is_hidden(_said_of(body))


_FILLERS = [
    "{", "[", '{"a":', '"', '""', '\\"', "'", "“", ",", ",}", "[1,", "=", "a=", "a=b ", "a=b;",
    "a=b&", "a=b\n", "a\n", "buy ES\n", "buy ES qty=1 ", "key:", "key=1;", '"key":"', "t,", "{{",
    "%a", "%41", "}", " ", "\t", "\r", "9", "1e", "-", "@1 ", ": order ", ".", "aA", "é", "\x00",
    "x: order buy @ 2 filled on ES. New strategy position is 2\n", "//\n", "\\", "\\u0041",
]  # fmt: skip
_AROUND = [
    ("", ""),
    ("", '"}'),
    ('{"action":"buy","symbol":"ES","qty":', ""),
    ('{"action":"buy","symbol":"ES","qty":', "}"),
    ('{"action":"buy","symbol":"ES","qty":"', '"}'),
    ("{'a':", "'}"),
    ('{"message":"', '"}'),
    ('{"key": ', ""),
    ("buy ES ", ""),
    ("action=", ""),
    ("secret=", ""),
    ("hunter\n", ""),
    ("payload=", ""),
    ("token,", ""),
    ('"', '"'),
]


@pytest.mark.parametrize(("opening", "ending"), _AROUND)
def test_64_kib_of_anything_are_answered(opening: str, ending: str) -> None:
    for filler in _FILLERS:
        room = 64 * 1024 - len((opening + ending).encode())
        body = opening + filler * (room // len(filler.encode())) + ending
        _checked(body.encode())
        assert mask(body)
