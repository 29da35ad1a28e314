"""No secret of a body reaches a log or a page."""

from __future__ import annotations

import json
from urllib.parse import quote, urlencode

import pytest

from app.domain.signals import mask
from tests.unit.domain.signals.alerts import refusal

_NAMES = [
    "key", "secret", "token", "passphrase", "password", "pin", "apikey", "api_key", "api_secret",
    "auth_key", "API-Key", "apiKey", "Auth.Key", "SECRET", "signalToken", "webhook_secret",
]  # fmt: skip
_PLANTED = "hunter2pass"


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize(
    "template",
    [
        '{"action":"buy","NAME":"VALUE","symbol":"ES"}',
        '{"action":"buy","NAME" : "VALUE" , "symbol":"ES"}',
        '{"strategy":{"a":{"b":[{"NAME":"VALUE"}]}}}',
        '[{"NAME":"VALUE"},{"NAME":"VALUE"}]',
        '{"NAME":["VALUE"],"x":{"NAME":{"a":"VALUE"}}}',
        '{"NAME":"a","NAME":"VALUE"}',
        '{"NAME":"VALUE","NAME":"a"}',
        "{'action':'buy','NAME':'VALUE','symbol':'ES'}",
        "{“NAME”: “VALUE”}",
        '{"NAME":"VALUE","action":"buy",}',
        '{"NAME":"VALUE","order":}',
        '{"NAME":"VALUE","action":"buy"',
        '{"action":"buy","NAME":"VALUE',
        '{"NAME" "VALUE","action":"buy"}',
        '{"NAME":"VALUE" "action":"buy"}',
        '{"NAME":VALUE,"action":"buy"}',
        '{"NAME": VALUE "action":"buy"}',
        "{NAME: VALUE, action: buy}",
        '{"NAME":"it\\"s VALUE"}',
        '{"NAME":"it"s VALUE","action":"buy"}',
        '{"NAME":\n"VALUE"}',
        '{"NAME":{"a":"VALUE"',
        '{"NAME":["a","VALUE"',
        """{'NAME':'a", "VALUE','order':}""",
        '{"comment":"NAME=VALUE"}',
        '{"comment":"say NAME: VALUE"}',
        '{"message":"{\\"NAME\\":\\"VALUE\\",\\"action\\":\\"buy\\"}"}',
        '{\\"NAME\\":\\"VALUE\\"}',
        '"{\\"NAME\\":\\"VALUE\\"}"',
        "action=buy;NAME=VALUE;symbol=ES",
        "action=buy; NAME = VALUE more ; symbol=ES",
        "NAME=VALUE",
        "NAME: VALUE",
        "action=buy\nNAME=VALUE\nsymbol=ES",
        "action=buy,NAME=VALUE,symbol=ES",
        "NAME=some,VALUE; action=buy",
        'NAME="some VALUE"; action=buy',
        "buy ES NAME=VALUE qty=2",
        "buy ES NAME:VALUE qty=2",
        "prose with NAME=VALUE in it",
        "action=buy&NAME=VALUE&symbol=ES",
        "NAME=VALUE&action=buy",
        "\ufeffNAME=VALUE",
    ],
)
def test_values_of_secret_names_are_hidden(name: str, template: str) -> None:
    body = template.replace("NAME", name).replace("VALUE", _PLANTED)

    masked = mask(body.encode())

    assert _PLANTED not in masked
    assert "***" in masked
    assert mask(body) == masked


@pytest.mark.parametrize(
    "body",
    [
        "SECRET,buy,ES",
        " SECRET , buy , ES",
        "SECRET,hold,ES",
        "SECRET,buy",
        "SECRET,buy,ES\nSECRET,sell,NQ\n",
        "SECRET\nlong XAUUSD q=0.2",
        "SECRET\r\naction=buy;symbol=ES",
        "SECRET\nthis is prose",
        "// comment\n\nSECRET\nbuy ES",
        "SECRET\n",
        "a,SECRET\nbuy ES",
        '{"message": "SECRET,buy,ES"}',
        '{"alert_message": "SECRET\\nbuy ES"}',
        '"SECRET\\nbuy ES"',
        '{"\\u006bey": "SECRET"}',
        '{"\\u006bey": "SECRET", "key": "a"}',
        '{"a": 1, "\\u0073ecret": "SECRET",}',
        "payload=SECRET%0Abuy+ES",
        "payload=SECRET%2Cbuy%2CES",
        "action=buy&%73ecret=SECRET",
        "action=buy&message=SECRET%2Cbuy%2CES",
    ],
)
def test_secrets_without_a_plain_name_are_hidden(body: str) -> None:
    masked = mask(body.replace("SECRET", _PLANTED))

    assert _PLANTED not in masked
    assert "***" in masked


@pytest.mark.parametrize("inner", [{"secret": _PLANTED, "action": "buy"}, {"x": {"pin": _PLANTED}}])
@pytest.mark.parametrize("name", ["payload", "message", "data"])
def test_secrets_inside_a_form_are_hidden(name: str, inner: dict[str, object]) -> None:
    for body in (
        f"{name}={quote(json.dumps(inner))}",
        f"{name}={json.dumps(inner)}",
        urlencode({name: json.dumps(inner), "more": "1"}),
    ):
        assert _PLANTED not in mask(body)


def test_numbers_are_hidden_too() -> None:
    assert mask('{"pin": 123456, "qty": 2}') == '{"pin": "***", "qty": 2}'
    assert mask("pin=123456; qty=2") == "pin=***; qty=2"


@pytest.mark.parametrize(
    "body",
    [
        '{"action": "buy",\n  "symbol": "ES", "monkey": "banana", "x": [1.50, null, true]}',
        '{"action": "buy", "key": "", "secret": null}',
        '{"action": "buy",}',
        "buy ES qty=2",
        "action=buy; symbol=ES",
        "action=buy&symbol=MNQ1%21&comment=a+b",
        "hello",
        "AAPL Crossing 230.00",
        "MACD (12, 26): order buy @ 2 filled on ES. New strategy position is 2",
        "buy ES\nsell NQ",
        "",
        " \n",
        "[",
        "the keyboard of a monkey: pinned",
    ],
)
def test_bodies_without_secrets_are_shown_as_they_came(body: str) -> None:
    assert mask(body) == body


def test_everything_else_of_a_body_stays() -> None:
    body = '{"action": "buy",  "key": "hunter2", "comment": "a, b", "qty": 1.50}\n'

    assert mask(body) == body.replace("hunter2", "***")


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert mask(b"buy \xff ES") == "buy \ufffd ES"
    assert mask(b'{"key": "hunter2\xff", "a": 1}') == '{"key": "***", "a": 1}'


def test_halves_of_surrogate_pairs_can_be_stored() -> None:
    mask('{"message": "hunter2,buy\\ud800,ES"}').encode()
    mask("buy \ud800").encode()


@pytest.mark.parametrize(
    "body",
    [
        '{"secret": "hunter2pass", "action": }',
        '{"action": "buy", "secret": "hunter2pass" "symbol": "ES"}',
        "{'secret': 'hunter2pass', 'action'}",
        '{"secret": "' + "a" * 500 + 'hunter2pass", }}',
        "secret=hunter2pass and prose",
        "hunter2pass\nand prose",
        "hunter2pass\n",
        "hunter2pass,hold it now,ES",
        '{"message": "hunter2pass\\nand prose"}',
        '{"secret": "hunter2pass", "secret": "other"}',
        '{"secret": "hunter2pass", "action": "{{x}}", {{',
        '{"secret": "hunter2pass", "action": "secret=hunter2pass"}',
        "7" * 5 + "hunter2pass",
    ],
)
def test_refusals_do_not_quote_secrets(body: str) -> None:
    error = refusal(body)

    assert "hunter2pass" not in f"{error} {error.detail} {error.field}"


@pytest.mark.parametrize(
    "body",
    [
        "key=1\n" * 5000 + "hunter2pass",
        "a\n" * 5000 + "hunter2pass",
        "a=b&" * 5000 + "a=hunter2pass",
    ],
)
def test_bodies_with_absurdly_many_parts_are_hidden_from_some_part_on(body: str) -> None:
    masked = mask(body)

    assert "hunter2pass" not in masked
    assert masked.endswith("***")
