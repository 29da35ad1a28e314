"""The grammars of alerts that are plain text.

A command (``sell MGC1! qty=2``), pairs (``action=close; symbol=GBPJPY``), a connector line
(``token,exitshort,NAS100``), a password line above a command or pairs, and the text that
TradingView writes for strategies whose message box was left alone. Exactly one must fit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from app.domain.signals import names
from app.domain.signals.errors import BadAlert
from app.domain.signals.fields import Scope, scope_of
from app.domain.signals.jsontext import not_filled_in, unique_object
from app.domain.signals.masking import is_command, is_password, quote_body, token_of
from app.domain.signals.numbers import looks_numeric, parse_number
from app.domain.signals.words import ACTIONS, NEUTRAL, action_word, is_action

MOST_SIGNALS = 10
_MOST_WORDS = 200  # of one command; bounds the work
_MOST_LINES = 500  # of pairs
_LONGEST_ACTION = 4  # words: add to position, buy to open

Pair = tuple[str, object]

_KEY = re.compile(r"[\w.\-]{1,64}")
_ITEM_BREAK = re.compile(r";|,(?=\s*+[\w.\-]++\s*+=)")
_INNER_NAME = re.compile(r"(?<=\s)([\w.\-]{1,64}+)\s*+=")
_PERCENT_NAME = re.compile(r"%[A-Za-z_][\w.]*+%")
# NinjaTrader's contracts have a blank: MNQ 06-25.
_CONTRACT_MONTH = re.compile(r"(?:0[1-9]|1[0-2])-[0-9]{2}")
_FILL = re.compile(
    r"order (?P<action>\S{1,80}) @ (?P<contracts>\S{1,80}) filled on (?P<symbol>\S.{0,80}?)\."
    r" New strategy position is (?P<position>\S{1,80})",
    re.IGNORECASE,
)
_ORDER_OR_SYMBOL = frozenset((*names.ACTION, *names.SYMBOL))
# ``price:4500`` is a pair only for names that mean something; ``FX:EURUSD`` is a symbol.
_COLON_NAMES = names.KNOWN - frozenset({"strategy", "general", "strategy_info", "alert"})


@dataclass(slots=True)
class TextMessage:
    """The orders of a text; ``is_list`` when each stands on a line of its own."""

    scopes: list[Scope]
    secret: str | None = field(default=None, repr=False)
    is_list: bool = False


def has_placeholder(text: str) -> bool:
    return "{{" in text or ("%" in text and _PERCENT_NAME.search(text) is not None)


def read_text(text: str) -> TextMessage:
    """Raises: BadAlert: ``unrecognised_text`` or what is wrong with the one that nearly fits."""
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if is_command(line)]
    message = (
        _read_fills(lines)
        or _read_connector_lines(lines)
        or _read_pairs(lines)
        or _read_below_password(lines)
    )
    return message if message is not None else _read_commands(lines, text)


def is_fill(text: str) -> bool:
    """Whether this is TradingView's own text, whose name in front may look like JSON."""
    return "\n" not in text and _fill(text) is not None


def unrecognised(text: str) -> BadAlert:
    return BadAlert("unrecognised_text", f"{quote_body(text)} is no form of alert that is known")


# --- TradingView's own text ---


def _fill(line: str) -> re.Match[str] | None:
    # The name in front may contain anything, even the beginning of such a text.
    start = 0 if line[:6].lower() == "order " else line.lower().rfind(": order ") + 2
    return _FILL.fullmatch(line, start) if start != 1 else None


def _read_fills(lines: list[str]) -> TextMessage | None:
    fills = [_fill(line) for line in lines[: MOST_SIGNALS + 1]]
    found = [m for m in fills if m is not None]
    if not found or len(found) < len(fills):
        return None
    _limit(lines)
    return TextMessage([_fill_scope(m) for m in found], is_list=len(found) > 1)


def _fill_scope(m: re.Match[str]) -> Scope:
    position = m["position"]
    if has_placeholder(position):
        raise BadAlert("unexpanded_placeholder", not_filled_in(position), field="position_size")
    size = parse_number(position.rstrip("."))
    if size is None:
        raise unrecognised(m[0])
    return scope_of(
        [
            ("action", m["action"]),
            ("quantity", m["contracts"]),
            ("symbol", m["symbol"]),
            ("market_position", "flat" if size == 0 else "long" if size > 0 else "short"),
            ("market_position_size", str(abs(size))),
        ]
    )


# --- connector lines ---


def _read_connector_lines(lines: list[str]) -> TextMessage | None:
    read = [_connector_line(line) for line in lines[: MOST_SIGNALS + 1]]
    found = [pair for pair in read if pair is not None]
    if not found or len(found) < len(read):
        return None
    _limit(lines)
    return TextMessage([scope for _, scope in found], found[0][0], is_list=len(found) > 1)


def _connector_line(line: str) -> tuple[str, Scope] | None:
    token = token_of(line)
    if token is None or line.count(",") < 2 or len(token.split()) > 1:
        return None
    _, action, rest = line.split(",", 2)
    symbol, _, options = rest.partition(",")
    if "=" in action or "=" in symbol or not (is_action(action) or len(action.split()) < 2):
        return None
    pairs = _pairs(options) if options.strip() else []
    if pairs is None:
        return None
    return token, _with_positions(
        {"action": action.strip(), "symbol": symbol.strip()}, unique_pairs(pairs)
    )


# --- pairs ---


def unique_pairs(pairs: list[Pair]) -> list[Pair]:
    return list(unique_object(pairs).items())


def _read_pairs(lines: list[str]) -> TextMessage | None:
    whole: list[list[Pair]] = []
    for line in lines:
        read = _pairs(line)
        if read is None or len(whole) > _MOST_LINES:
            return None
        whole.append(read)
    if len(whole) > 1 and all(_is_complete(pairs) for pairs in whole):
        _limit(lines)
        return TextMessage([scope_of(unique_pairs(p)) for p in whole], is_list=True)
    pairs = [pair for line in whole for pair in line]
    if not any(names.known(key) in _ORDER_OR_SYMBOL for key, _ in pairs):
        return None
    return TextMessage([scope_of(unique_pairs(pairs))])


def _is_complete(pairs: list[Pair]) -> bool:
    """Whether one line of pairs is an order of its own: it has an action and a symbol."""
    found = {names.known(key) for key, _ in pairs}
    return not found.isdisjoint(names.ACTION) and not found.isdisjoint(names.SYMBOL)


def _pairs(line: str) -> list[Pair] | None:
    """The ``key=value`` items of a line, None when there is anything else."""
    pairs: list[Pair] = []
    for item in _ITEM_BREAK.split(line):
        read = _item(item.strip())
        if read is None:
            return None
        pairs += read
    return pairs


def _item(item: str) -> list[Pair] | None:
    if not item:
        return []
    words = item.split()
    if len(words) > 1 and all(word.find("=") > 0 for word in words):
        read = [word.partition("=") for word in words]
    else:
        read = [item.partition("=")]
    pairs: list[Pair] = []
    for key, sign, value in read:
        if not sign or _KEY.fullmatch(key.strip()) is None or _swallows_a_name(value):
            return None
        pairs.append((key.strip(), value.strip()))
    return pairs


def _swallows_a_name(value: str) -> bool:
    """``buy qty=2 now`` as a value: is ``qty`` a field or a part of the text?"""
    return "=" in value and any(names.known(m[1]) for m in _INNER_NAME.finditer(value))


# --- password line ---


def _read_below_password(lines: list[str]) -> TextMessage | None:
    if len(lines) < 2 or not is_password(lines[0]):
        return None
    rest = lines[1:]
    message = _read_pairs(rest)
    if message is None:
        scopes = [_command(line, needs_symbol=True) for line in rest[: MOST_SIGNALS + 1]]
        _limit(rest)
        message = TextMessage(scopes, is_list=len(rest) > 1)
    message.secret = lines[0]
    return message


# --- commands ---


def _read_commands(lines: list[str], text: str) -> TextMessage:
    if not lines:
        raise unrecognised(text)
    if len(lines) == 1:
        return TextMessage([_command(lines[0])])
    scopes = []
    for index, line in enumerate(lines[: MOST_SIGNALS + 1]):
        try:
            scopes.append(_command(line))
        except BadAlert as e:
            raise e.within(index) from e
    _limit(lines)
    return TextMessage(scopes, is_list=True)


def _limit(lines: list[str]) -> None:
    if len(lines) > MOST_SIGNALS:
        raise BadAlert("too_many_signals", f"more than {MOST_SIGNALS} orders in one alert")


def _command(line: str, *, needs_symbol: bool = False) -> Scope:
    words = line.split(None, _MOST_WORDS)
    if len(words) > _MOST_WORDS:
        raise unrecognised(line)
    if is_password(line):
        # Not quoted: it may be the password of a command that is missing.
        raise BadAlert("unrecognised_text", "one word that is no action")
    count = next((i for i, word in enumerate(words) if _ends_positions(word)), len(words))
    positions = _positions(words[:count], line)
    if needs_symbol and "symbol" not in positions:
        raise BadAlert("missing_symbol", "the line has no symbol", field="symbol")
    return _with_positions(positions, unique_pairs(_options(words[count:], line)))


def _ends_positions(word: str) -> bool:
    return word[0] == "@" or _option(word) is not None


def _option(word: str) -> tuple[str, str] | None:
    key, sign, value = word.partition("=")
    if sign and _KEY.fullmatch(key):
        return ("price" if key.lower() == "p" else key), value
    key, sign, value = word.partition(":")
    if sign and key.lower() == "p":
        return "price", value
    return (key, value) if sign and names.known(key) in _COLON_NAMES else None


def _options(words: list[str], line: str) -> list[Pair]:
    pairs: list[Pair] = []
    rest = iter(words)
    for word in rest:
        if word[0] == "@":
            price = word[1:] or next(rest, "")
            if parse_number(price) is None and not has_placeholder(price):
                raise unrecognised(line)
            pairs.append(("price", price))
            continue
        option = _option(word)
        if option is None:
            raise unrecognised(line)
        pairs.append(option)
    return pairs


def _with_positions(positions: dict[str, str], options: list[Pair]) -> Scope:
    """One scope of both; what stands in a place must not be named differently in a pair."""
    named = scope_of(options)
    for place, group in (("symbol", names.SYMBOL), ("quantity", names.QUANTITY)):
        for name in group:
            if place in positions and named.get(name, positions[place]) != positions[place]:
                raise BadAlert("duplicate_key", f"{place} is given two values", field=place)
    return scope_of([*positions.items(), *named.items()])


def _positions(words: list[str], line: str) -> dict[str, str]:
    """What the words in front of the options say by their places."""
    if 0 < len(words) <= _LONGEST_ACTION and (action := _action(words)):
        return {"action": action}
    readings = [*_action_first(words), *_action_last(words)]
    if len(readings) == 1:
        return readings[0]
    if not readings and 2 <= len(words) <= 3:
        for word in words:
            if has_placeholder(word):
                raise BadAlert("unexpanded_placeholder", not_filled_in(word), field="action")
    raise unrecognised(line)


def _action(words: list[str]) -> str | None:
    word = action_word(" ".join(words))
    return word if word in ACTIONS else None


def _action_first(words: list[str]) -> list[dict[str, str]]:
    readings = []
    for count in range(1, min(_LONGEST_ACTION, len(words) - 1) + 1):
        action, rest = _action(words[:count]), words[count:]
        if action is None:
            continue
        if (symbol := _symbol(rest)) is not None:
            readings.append({"action": action, "symbol": symbol})
        elif looks_numeric(rest[0]) and (symbol := _symbol(rest[1:])) is not None:
            readings.append({"action": action, "quantity": rest[0], "symbol": symbol})
    return readings


def _action_last(words: list[str]) -> list[dict[str, str]]:
    readings = []
    for count in range(1, min(_LONGEST_ACTION, len(words) - 1) + 1):
        action, symbol = _action(words[-count:]), _symbol(words[:-count])
        if action is not None and symbol is not None:
            readings.append({"action": action, "symbol": symbol})
    return readings


def _symbol(words: list[str]) -> str | None:
    if len(words) == 2 and _CONTRACT_MONTH.fullmatch(words[1]):
        return None if looks_numeric(words[0]) else " ".join(words)
    if len(words) != 1 or looks_numeric(words[0]):
        return None
    # Words of the grammar are no symbols here, except the ticker OPEN.
    word = action_word(words[0])
    is_taken = word in ACTIONS or (word in NEUTRAL and word != "open")
    return None if is_taken else words[0]
