"""One alert's life as its page shows it: a verdict for every rule and account, and a time line on
one common scale. Made from ``signal_log.Life`` alone; no query, no request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from app.domain.plans import Outcome
from app.domain.symbols import instrument_for
from app.domain.trading import OrderRole
from app.models import Account, Execution, Order
from app.pages import filters as written
from app.services.signal_log import Life, Sent, Tally, Verdict

SCALE = 320
"""Units across the time line's bars."""
_MIN_MS = 1.0
_ACTS = (OrderRole.ENTRY.value, OrderRole.EXIT.value)

_ROWS = (
    ("What the alert asks", "act_on target_missing"),
    ("Position before", "position already_at_target"),
    ("Broker against books", "out_of_sync"),
    (
        "What it does here",
        "on_flat on_same_side same_side_ignored on_opposite opposite_refused close noop_flat "
        "noop_other_side partial_exit part_unknown bad_quantity_type partial_below_one reverse "
        "reverse_flat reverse_same_side add add_flat add_opposite cancel nothing_to_cancel "
        "breakeven breakeven_flat not_in_profit stop_already_there",
    ),
    ("Kill switch, account", "account kill_switch account_locked account_disabled"),
    ("Entry deadline", "entry_deadline"),
    ("Age of the alert", "max_signal_age"),
    ("Direction", "direction"),
    ("Allowed symbols", "allowed_symbols"),
    ("Entry order", "entry_order no_price"),
    (
        "Size and position cap",
        "entry_quantity add_quantity adds_off below_minimum max_position "
        "max_contracts_per_order no_sizing_value no_stop no_equity",
    ),
    ("Bracket", "bracket"),
)
"""A row of the matrix and the codes of the decision that belong in it, in reading order."""
_LABELS = {code: label for label, codes in _ROWS for code in codes.split()}
_RANK = {label: index for index, (label, _) in enumerate(_ROWS)}
_KINDS = {
    Outcome.PASS.value: "pass",
    Outcome.CHANGED.value: "change",
    Outcome.STOPPED.value: "stop",
}
_WORST = ("none", "pass", "change", "stop")


@dataclass(frozen=True, slots=True)
class Cell:
    """``kind``: pass, change, stop, or none where the rule was not reached."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    label: str
    cells: list[Cell]

    @property
    def is_plain(self) -> bool:
        """It changed nothing anywhere."""
        return all(cell.kind in ("pass", "none") for cell in self.cells)


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome on one account. ``shape`` is a chip's."""

    shape: str
    text: str
    detail: str


@dataclass(frozen=True, slots=True)
class Column:
    """One entry of the alert for one trader. ``index`` is None where the alert has one entry."""

    account: Account
    index: int | None
    result: Result


@dataclass(frozen=True, slots=True)
class Matrix:
    columns: list[Column]
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the time line: when it ended and how long it took. ``x`` and ``width`` are in
    ``SCALE`` units; ``kind`` is empty for our own work, ``net`` for the broker, ``fill``, or
    ``wait`` for a delay that the settings ask for."""

    at: datetime
    text: str
    took_ms: float
    x: float
    width: float
    kind: str
    is_new_second: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One order of the orders' table. Prices at ``places``; ``slippage`` in ticks, positive is
    worse than the alert's price."""

    sent: Sent
    account: Account
    places: int
    words: str
    slippage: str

    @property
    def order(self) -> Order:
        return self.sent.order


def matrix(verdicts: Sequence[Verdict]) -> Matrix:
    return matrix_of(
        [(v.account, v.execution.index, v.execution.trace, result(v)) for v in verdicts]
    )


def matrix_of(columns: Sequence[tuple[Account, int, list[Any], Result]]) -> Matrix:
    """``columns``: account, entry of the alert, trace, what came of it."""
    lines = [_by_label(trace) for _, _, trace, _ in columns]
    labels = list(dict.fromkeys(label for column in lines for label in column))
    labels.sort(key=lambda label: _RANK.get(label, len(_RANK)))
    several = len({index for _, index, _, _ in columns}) > 1
    return Matrix(
        [
            Column(account, index if several else None, outcome)
            for account, index, _, outcome in columns
        ],
        [
            Row(label, [column.get(label) or _unreached(column) for column in lines])
            for label in labels
        ],
    )


def _by_label(trace: Iterable[dict[str, Any]]) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for line in trace:
        label = _LABELS.get(line["rule"]) or sentence(line["rule"])
        kind = _KINDS.get(line["verdict"], "pass")
        before = cells.get(label)
        if before is None:
            cells[label] = Cell(kind, line["words"])
            continue
        worse = max(before.kind, kind, key=_WORST.index)
        cells[label] = Cell(worse, f"{before.text}; {line['words']}")
    return cells


def _unreached(column: dict[str, Cell]) -> Cell:
    if not column:
        return Cell("none", "waiting")
    stopped = any(cell.kind == "stop" for cell in column.values())
    return Cell("none", "not reached" if stopped else "not asked")


def result(verdict: Verdict) -> Result:
    execution = verdict.execution
    said = {line["words"] for line in execution.trace}
    detail = execution.detail if execution.detail and execution.detail not in said else ""
    if execution.status in ("pending", "running"):
        word = "Waiting" if execution.status == "pending" else "Under way"
        return Result("work", _done(verdict) or word, detail)
    if execution.status == "done":
        done = _done(verdict)
        return Result("ok", done or "Done", detail if execution.reason else "")
    shape = {"failed": "bad", "unknown": "wait"}.get(execution.status, "off")
    reason = words_of(execution)
    text = sentence(execution.status) + (f": {reason}" if reason else "")
    return Result(shape, text, detail)


def planned(plan: dict[str, Any]) -> Result:
    """The outcome of a dry run's plan."""
    if plan["verdict"] == "trade":
        words = [words for step in plan["steps"] if (words := step_words(step))]
        return Result("ok", "Would trade", "; ".join(words) or plan["words"])
    reason = (plan["reason"] or "").replace("_", " ")
    return Result("off", f"Nothing: {reason}" if reason else "Nothing", "")


def step_words(step: dict[str, Any]) -> str:
    """One step of a plan as people say it; empty for what is done between the others."""
    kind, contract = step["step"], step.get("contract", "")
    if kind == "Enter":
        price = step["limit_price"] or step["stop_price"]
        at = f" at {price}" if price else ""
        return (
            f"{step['side']} {step['quantity']} {contract}, {step['order_type']}{at}{_legs(step)}"
        )
    if kind == "Close":
        return f"close {step['quantity']} {contract} at market"
    if kind == "Net":
        return (
            f"{step['side']} {step['quantity']} {contract} at market: closes {step['closes']}, "
            f"opens {step['opens']}"
        )
    if kind == "CancelOrders":
        count = len(step["ids"])
        return f"cancel {count} working {'order' if count == 1 else 'orders'}"
    if kind == "MoveStop":
        return f"move the stop of {contract} to {step['price']}"
    if kind == "Reprotect":
        return f"renew the bracket of {contract}"
    if kind == "Adopt":
        return f"take over the broker's position in {contract}"
    return ""


def _legs(step: dict[str, Any]) -> str:
    said = []
    for word, leg in (("target", step["take_profit"]), ("stop", step["stop_loss"])):
        if leg:
            where = f"{leg['offset']} away" if leg["offset"] else f"at {leg['price']}"
            said.append(f"{word} {where}")
    return f" with {' and '.join(said)}" if said else ""


def words_of(execution: Execution) -> str:
    return (execution.reason or "").replace("_", " ")


def _done(verdict: Verdict) -> str:
    """What was filled: ``Closed 3, bought 2``."""
    sums: dict[str, Decimal] = {}
    for sent in verdict.sent:
        order = sent.order
        if order.role not in _ACTS or not order.filled_quantity:
            continue
        word = "closed" if order.role == OrderRole.EXIT.value else _PAST[order.side]
        sums[word] = sums.get(word, Decimal(0)) + order.filled_quantity
    text = ", ".join(f"{word} {written.qty(quantity)}" for word, quantity in sums.items())
    return text[:1].upper() + text[1:]


_PAST = {"buy": "bought", "sell": "sold"}


def has_traded(verdict: Verdict) -> bool:
    return any(sent.order.filled_quantity and sent.order.role in _ACTS for sent in verdict.sent)


def outcome(status: str, tally: Tally) -> tuple[str, str]:
    """What became of an alert: a chip's state and its words. ``status`` is that of its arrival."""
    if status != "accepted" or not tally.executions:
        return status, sentence(status)
    found = (
        (tally.under_way, "executing", "Under way"),
        (tally.traded == tally.executions, "traded", "Traded"),
        (tally.traded, "partly_traded", "Traded in part"),
        (tally.unknown, "unknown", "Unknown"),
        (tally.failed, "failed", "Failed"),
        (tally.done, "done", "Done"),
        (tally.expired, "expired", "Expired"),
    )
    return next(((state, words) for is_so, state, words in found if is_so), ("skipped", "Skipped"))


def tally(life: Life) -> Tally:
    """The same counts as of the list."""
    counted = Tally()
    for verdict in life.verdicts:
        has_traded = any(sent.order.filled_quantity for sent in verdict.sent)
        counted.add(verdict.execution.status, has_traded=has_traded)
    return counted


def is_under_way(life: Life) -> bool:
    return any(v.execution.status in ("pending", "running") for v in life.verdicts)


def last_fill_ms(life: Life) -> float | None:
    """From the alert's arrival to the last fill of what it sent, without the bracket's legs."""
    ends = [
        fill.filled_at for sent in life.orders if sent.order.role in _ACTS for fill in sent.fills
    ]
    return _ms(max(ends) - life.signal.received_at) if ends else None


# The time line


@dataclass(frozen=True, slots=True)
class _Part:
    start: datetime
    end: datetime
    text: str
    kind: str = ""


def steps(life: Life) -> list[Step]:
    """What happened, in the order in which it ended. The bracket's legs, which may fill hours
    later, are in the orders' table only."""
    start = life.signal.received_at
    parts = sorted(_parts(life), key=lambda part: (part.end, part.start))
    if not parts:
        return []
    whole = max(_ms(max(part.end for part in parts) - start), _MIN_MS)
    found: list[Step] = []
    for part in parts:
        before = found[-1].at if found else None
        found.append(
            Step(
                at=part.end,
                text=part.text,
                took_ms=max(_ms(part.end - part.start), 0.0),
                x=round(max(_ms(part.start - start), 0.0) / whole * SCALE, 1),
                width=round(max(_ms(part.end - part.start), 0.0) / whole * SCALE, 1),
                kind=part.kind,
                is_new_second=before is None
                or before.replace(microsecond=0) != part.end.replace(microsecond=0),
            )
        )
    return found


def _parts(life: Life) -> Iterator[_Part]:
    signal = life.signal
    read = signal.received_at + timedelta(microseconds=signal.decode_us or 0)
    if signal.decode_us is not None:
        count = len(signal.parsed)
        orders = f", {count} {'order' if count == 1 else 'orders'}" if count else ""
        word = "understood" if count else "not understood"
        yield _Part(signal.received_at, read, f"Received and {word}{orders}")
    stored = max(signal.created_at, read)
    count = len(life.verdicts)
    executions = f" with {count} {'execution' if count == 1 else 'executions'}" if count else ""
    yield _Part(read, stored, f"Stored on disk{executions}, answered {signal.answer}")
    for verdict in life.verdicts:
        yield from _of_account(verdict, stored)


def _of_account(verdict: Verdict, stored: datetime) -> Iterator[_Part]:
    execution, name = verdict.execution, verdict.account.name
    if execution.started_at is None:
        return
    decided = f"{name}: {execution.detail}" if execution.detail else f"{name}: rules run"
    begun = min(stored, execution.started_at)
    if execution.due_at is not None and begun < execution.due_at <= execution.started_at:
        yield _Part(begun, execution.due_at, f"{name}: waited for the entry delay", "wait")
        begun = execution.due_at
    yield _Part(begun, execution.started_at, decided)
    for sent in verdict.sent:
        if sent.order.role in _ACTS:
            yield from _of_order(sent, name)


def _of_order(sent: Sent, name: str) -> Iterator[_Part]:
    order = sent.order
    if order.submitted_at is None:
        return
    what = f"{order.side} {written.qty(order.quantity)} at {order.order_type}"
    if order.role == OrderRole.EXIT.value:
        what = f"close, {what}"
    known = order.acknowledged_at
    if known is not None:
        known = min([known, *(fill.filled_at for fill in sent.fills)])
        answer = "refused" if order.status == "rejected" else "accepted"
        yield _Part(order.submitted_at, known, f"{name}: {what} sent, {answer}", "net")
    last = known or order.submitted_at
    places = instrument_for(order.contract).price_places
    for fill in sent.fills:
        at = max(fill.filled_at, fill.created_at, last)
        price = written.price(fill.price, places)
        yield _Part(last, at, f"{name}: filled {written.qty(fill.quantity)} at {price}", "fill")
        last = at


# Orders


def lines(life: Life) -> list[Line]:
    return [_line(sent, verdict) for verdict in life.verdicts for sent in verdict.sent]


def _line(sent: Sent, verdict: Verdict) -> Line:
    order = sent.order
    instrument = instrument_for(order.contract)
    return Line(
        sent,
        verdict.account,
        instrument.price_places,
        _order_words(order),
        _slippage(order, instrument.tick_size),
    )


def _order_words(order: Order) -> str:
    kind = sentence(order.order_type)
    if order.role in _ACTS:
        return f"{kind}, {order.role}"
    return f"{kind}, {order.role.replace('_', ' ')}"


def _slippage(order: Order, tick: Decimal) -> str:
    """In ticks against the alert's price; positive is worse. Only where both are known."""
    asked = order.ticket.get("reference_price")
    if asked is None or order.avg_fill_price is None or order.role not in _ACTS:
        return ""
    sign = 1 if order.side == "buy" else -1
    ticks = sign * (order.avg_fill_price - Decimal(str(asked))) / tick
    rounded = written.signed(ticks, "", 0 if ticks == ticks.to_integral_value() else 1)
    return f"{rounded} {'tick' if abs(ticks) == 1 else 'ticks'}"


# The body

_TOKENS = re.compile(
    r'(?P<string>"(?:\\.|[^"\\])*+")|(?P<number>-?\d[\d.eE+-]*+)|(?P<space>\s++)'
    r"|(?P<open>[{\[])|(?P<close>[}\]])|(?P<comma>,)|(?P<colon>:)|(?P<other>[^\s\"{}\[\],:]++|.)"
)
_MASKED = re.compile(r'"?\*{3}"?')


def body_tokens(raw: str, *, is_json: bool) -> list[tuple[str, str]]:
    """(class, text) of the body for its display. JSON on one line is broken into lines; every
    token stays as it arrived."""
    if not is_json:
        return [("", raw)]
    tokens = [(m.lastgroup or "other", m.group()) for m in _TOKENS.finditer(raw)]
    if "\n" not in raw.strip():
        tokens = list(_indented(tokens))
    return list(_coloured(tokens))


def _indented(tokens: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    solid = [(kind, text) for kind, text in tokens if kind != "space"]
    depth = 0
    for index, (kind, text) in enumerate(solid):
        before = solid[index - 1][0] if index else ""
        if kind == "close":
            depth = max(depth - 1, 0)
            if before != "open":
                yield "space", "\n" + "  " * depth
        elif before in ("open", "comma"):
            yield "space", "\n" + "  " * depth
        yield kind, text
        if kind == "open":
            depth += 1
        elif kind == "colon":
            yield "space", " "


def _coloured(tokens: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for index, (kind, text) in enumerate(tokens):
        if kind != "string":
            yield "", text
            continue
        after = next((k for k, _ in tokens[index + 1 :] if k != "space"), "")
        if _MASKED.fullmatch(text):
            yield "d", text
        else:
            yield ("k" if after == "colon" else "s"), text


def sentence(code: str) -> str:
    """A code as words: ``take_profit`` is ``Take profit``."""
    text = code.replace("_", " ")
    return text[:1].upper() + text[1:]


def _ms(span: timedelta) -> float:
    return span / timedelta(milliseconds=1)
