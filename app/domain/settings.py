"""What a strategy sets and a trader may override: names, types, bounds, defaults, help.

A setting is one field of ``StrategySettings``; the trader's side, the form, the API's description
and the resolution all follow from it. ``null`` inherits, ``"off"`` switches an object setting
off, and a limit's own off is 0. Unknown names and unknown words are refused, never guessed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    StrictBool,
    Tag,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from app.domain.errors import Invalid

OFF: Literal["off"] = "off"
SECRET_IS_SET = "set"  # noqa: S105  (what is shown instead of a secret)
TRADINGVIEW_SOURCES = ("52.89.214.238", "34.212.75.30", "54.218.53.128", "52.32.178.7")
"""The addresses that TradingView publishes for its webhooks."""


class Sizing(StrEnum):
    FIXED = "fixed"
    SIGNAL = "signal"
    RISK = "risk"
    EQUITY_PERCENT = "equity_percent"
    NOTIONAL = "notional"


class Rounding(StrEnum):
    FLOOR = "floor"
    AT_LEAST_ONE = "at_least_one"


class EntryType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"
    AS_ALERT = "as_alert"


class ExitsFrom(StrEnum):
    SETTINGS = "settings"
    ALERT = "alert"


class Unit(StrEnum):
    TICKS = "ticks"
    POINTS = "points"
    PERCENT = "percent"
    CURRENCY = "currency"


class ShareUnit(StrEnum):
    CONTRACTS = "contracts"
    PERCENT = "percent"


class OnSameSide(StrEnum):
    IGNORE = "ignore"
    ADD = "add"
    REPLACE = "replace"


class OnOpposite(StrEnum):
    REVERSE = "reverse"
    CLOSE_ONLY = "close_only"
    REFUSE = "refuse"


class ActOn(StrEnum):
    TARGET_IF_PRESENT = "target_if_present"
    ACTION = "action"
    TARGET = "target"


class OnOutOfSync(StrEnum):
    BLOCK_ENTRIES = "block_entries"
    ADOPT = "adopt"
    IGNORE = "ignore"


class Direction(StrEnum):
    BOTH = "both"
    LONG = "long"
    SHORT = "short"


class Source(StrEnum):
    """Where an effective value comes from."""

    STRATEGY = "strategy"
    TRADER = "trader"
    DEFAULT = "default"


def canonical(value: Decimal) -> str:
    """The one spelling of a decimal: plain notation without trailing zeros."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


_PLAIN_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d{0,12})?|[+-]?\.\d{1,12}", re.ASCII)
_SYMBOL = re.compile(r"[A-Z0-9!._\-/:&^ ]{1,40}", re.ASCII)
_ENTRIES = 100


def _read_decimal(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise PydanticCustomError("number", "should be a number")
    text = str(value).strip()
    if isinstance(value, float | Decimal) and "E" in text.upper():
        text = _without_exponent(text)
    if not _PLAIN_NUMBER.fullmatch(text):
        raise PydanticCustomError(
            "number", "should be a plain number with at most 15 digits and 12 decimal places"
        )
    return Decimal(text)


def _without_exponent(text: str) -> str:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    return format(number, "f") if abs(number.adjusted()) <= 20 else text


def _read_integer(value: object) -> int:
    number = _read_decimal(value)
    if number != number.to_integral_value():
        raise PydanticCustomError("integer", "should be a whole number")
    return int(number)


def _read_symbol(value: object) -> str:
    text = value.strip().upper() if isinstance(value, str) else ""
    if not _SYMBOL.fullmatch(text):
        raise PydanticCustomError("symbol", "should be a symbol such as MNQ or BTC/USDT")
    return text


def _read_contract(value: object) -> str:
    word = value.strip().lower() if isinstance(value, str) else ""
    return word if word in ("front", "next") else _read_symbol(value)


def _read_symbols(value: object) -> object:
    items = () if value == OFF else value
    if isinstance(items, list | tuple):
        return tuple(dict.fromkeys(_read_symbol(item) for item in items))
    return items


def _read_symbol_map(value: object) -> object:
    if value == OFF:
        return {}
    if isinstance(value, Mapping):
        return dict(_read_mapping(root, traded) for root, traded in value.items())
    return value


def _read_mapping(root: object, traded: object) -> tuple[str, str]:
    try:
        return _read_symbol(root), _read_symbol(traded)
    except PydanticCustomError:
        raise PydanticCustomError(
            "symbol_map",
            "{root} should map a symbol to a symbol, as NQ to MNQ",
            {"root": str(root)[:40]},
        ) from None


def _read_source(value: object) -> str:
    try:
        network = ipaddress.ip_network(str(value).strip(), strict=False)
    except ValueError:
        raise PydanticCustomError(
            "source", "should be an IP address or a network such as 203.0.113.0/24"
        ) from None
    single = network.num_addresses == 1
    return str(network.network_address) if single else str(network)


def _off_is_empty(value: object) -> object:
    return () if value == OFF else value


def _one_target(value: object) -> object:
    if isinstance(value, list | tuple) and len(value) > 1:
        raise PydanticCustomError(
            "too_many_targets", "takes one target; more than one is not supported"
        )
    return _off_is_empty(value)


_as_text = PlainSerializer(canonical, return_type=str, when_used="json")
_number = BeforeValidator(_read_decimal)
_integer = BeforeValidator(_read_integer)

_LARGEST = Decimal(1_000_000_000)
_LARGEST_MULTIPLIER = Decimal(10_000)
Multiplier = Annotated[Decimal, _number, Field(gt=0, le=_LARGEST_MULTIPLIER), _as_text]
Positive = Annotated[Decimal, _number, Field(gt=0, le=_LARGEST), _as_text]
NotNegative = Annotated[Decimal, _number, Field(ge=0, le=_LARGEST), _as_text]
Ticks = Annotated[int, _integer, Field(ge=-10_000, le=10_000)]
Seconds = Annotated[int, _integer, Field(ge=0, le=86_400)]
SecondsAtLeastOne = Annotated[int, _integer, Field(ge=1, le=86_400)]
Symbol = Annotated[str, BeforeValidator(_read_symbol)]
Contract = Annotated[str, BeforeValidator(_read_contract)]
Symbols = Annotated[tuple[str, ...], BeforeValidator(_read_symbols), Field(max_length=_ENTRIES)]
SymbolMap = Annotated[dict[str, str], BeforeValidator(_read_symbol_map), Field(max_length=_ENTRIES)]
IpSource = Annotated[str, BeforeValidator(_read_source)]
Sources = Annotated[
    tuple[IpSource, ...], BeforeValidator(_off_is_empty), Field(max_length=_ENTRIES)
]
Passphrase = Annotated[str, Field(min_length=1, max_length=200)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EntryOrder(_Part):
    type: EntryType = Field(EntryType.MARKET, description="The kind of order.")
    offset_ticks: Ticks = Field(
        0,
        description="Moves a limit price: positive towards a worse price (a buy pays more), "
        "negative waits for a better one.",
    )

    @model_validator(mode="before")
    @classmethod
    def _a_word_is_the_type(cls, data: Any) -> Any:
        return {"type": data} if isinstance(data, str) else data


class TakeProfit(_Part):
    """One target. The last target takes what the others left, whatever its share."""

    distance: Positive = Field(description="From the average fill price.")
    unit: Unit = Field(Unit.TICKS, description="What the distance counts; money is per leg.")
    share: Positive = Field(Decimal(100), description="How much of the position it closes.")
    share_unit: ShareUnit = Field(ShareUnit.PERCENT, description="What the share counts.")

    @model_validator(mode="after")
    def _at_most_everything(self) -> TakeProfit:
        if self.share_unit is ShareUnit.PERCENT and self.share > 100:
            raise PydanticCustomError("share", "share should be at most 100 percent")
        return self


class StopLoss(_Part):
    """Distance from the average fill price; ``currency`` = money per whole position."""

    distance: Positive = Field(description="From the average fill price.")
    unit: Unit = Field(Unit.TICKS, description="What the distance counts; money is for all.")

    @model_validator(mode="after")
    def _above_nothing(self) -> StopLoss:
        if self.unit is Unit.PERCENT and self.distance >= 100:
            raise PydanticCustomError("distance", "distance should be below 100 percent")
        return self


def _off_or_object(value: Any) -> str:
    return "<off>" if value == OFF else "<object>"


OptionalStop = Annotated[
    Annotated[StopLoss, Tag("<object>")] | Annotated[Literal["off"], Tag("<off>")],
    Discriminator(_off_or_object),
]
Targets = Annotated[tuple[TakeProfit, ...], BeforeValidator(_one_target)]


@dataclass(frozen=True, slots=True)
class _About:
    """The words of a setting, carried in its field."""

    section: str
    label: str
    kind: str
    unit: str = ""
    is_overridable: bool = True
    can_be_off: bool = False


def _setting(
    default: Any,
    section: str,
    label: str,
    kind: str,
    help_text: str,
    *,
    unit: str = "",
    is_overridable: bool = True,
    can_be_off: bool = False,
) -> Any:
    about = _About(section, label, kind, unit, is_overridable, can_be_off)
    given = {"default_factory": default} if callable(default) else {"default": default}
    return Field(**given, description=help_text, json_schema_extra={"about": about})  # type: ignore[dict-item]


class StrategySettings(BaseModel):
    """Everything a strategy can set, with every default filled in."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    version: Literal[1] = 1

    entry_quantity: Positive = _setting(
        Decimal(1),
        "sizing",
        "Entry quantity",
        "decimal",
        "Size of an entry from flat.",
        unit="contracts",
    )
    add_quantity: NotNegative = _setting(
        Decimal(0),
        "sizing",
        "Add quantity",
        "decimal",
        "Size of an add to a position on the same side; 0 refuses adds.",
        unit="contracts",
    )
    sizing: Sizing = _setting(
        Sizing.FIXED,
        "sizing",
        "Sizing",
        "choice",
        "Where the size of an entry comes from: a fixed number, the alert, money at risk divided "
        "by the stop's distance, a percentage of equity, or a money value.",
    )
    sizing_value: Positive | None = _setting(
        None,
        "sizing",
        "Sizing value",
        "decimal",
        "Money at risk, percent of equity or money value, by the kind of sizing.",
        unit="money or percent",
    )
    multiplier: Multiplier = _setting(
        Decimal(1),
        "sizing",
        "Multiplier",
        "decimal",
        "Scales entries, adds and every exit given in contracts.",
    )
    rounding: Rounding = _setting(
        Rounding.FLOOR,
        "sizing",
        "Rounding",
        "choice",
        "A size below one contract is skipped (floor) or raised to one (at_least_one).",
    )
    max_contracts_per_order: NotNegative = _setting(
        Decimal(0),
        "sizing",
        "Most contracts per order",
        "decimal",
        "Caps each entry order; 0 is off. A capped order says so.",
        unit="contracts",
    )
    max_position: NotNegative = _setting(
        Decimal(0),
        "sizing",
        "Largest position",
        "decimal",
        "Caps the resulting position of the trader; 0 is off.",
        unit="contracts",
    )
    entry_order: EntryOrder = _setting(
        EntryOrder(),
        "sizing",
        "Entry order",
        "object",
        "Market, limit at the alert's price or the best price (with an offset), or as the alert "
        "says.",
    )
    entry_delay: Seconds = _setting(
        0,
        "sizing",
        "Entry delay",
        "integer",
        "Wait before acting on an entry; exits never wait.",
        unit="seconds",
    )
    entry_deadline: SecondsAtLeastOne = _setting(
        60,
        "sizing",
        "Entry deadline",
        "integer",
        "An entry that was not sent this long after the alert arrived expires.",
        unit="seconds",
    )
    symbol_map: SymbolMap = _setting(
        dict,
        "sizing",
        "Symbol map",
        "map",
        "What is traded for what the alert names, as NQ to MNQ.",
        can_be_off=True,
    )
    contract: Contract = _setting(
        "front",
        "sizing",
        "Contract",
        "text",
        "The front contract, the next one, or one pinned contract such as MNQZ6.",
    )

    exits_from: ExitsFrom = _setting(
        ExitsFrom.SETTINGS,
        "exits",
        "Exits from",
        "choice",
        "Targets and stop by these settings, or at the alert's own prices where it has them.",
    )
    take_profits: Targets = _setting(
        (),
        "exits",
        "Take profits",
        "list",
        "Targets, measured from the average fill price; currency is money per leg.",
        can_be_off=True,
    )
    stop_loss: OptionalStop = _setting(
        OFF,
        "exits",
        "Stop loss",
        "object",
        "Protective stop, measured from the average fill price; currency is money per whole "
        "position.",
        can_be_off=True,
    )

    on_same_side: OnSameSide = _setting(
        OnSameSide.IGNORE,
        "signals",
        "Same side signal",
        "choice",
        "What a buy does while long, a sell while short.",
    )
    on_opposite: OnOpposite = _setting(
        OnOpposite.REVERSE,
        "signals",
        "Opposite signal",
        "choice",
        "What a sell does while long, a buy while short.",
    )
    act_on: ActOn = _setting(
        ActOn.TARGET_IF_PRESENT,
        "signals",
        "Act on",
        "choice",
        "The position that the alert wants where it states one, its action word alone, or the "
        "position alone.",
    )
    on_out_of_sync: OnOutOfSync = _setting(
        OnOutOfSync.BLOCK_ENTRIES,
        "signals",
        "Out of sync",
        "choice",
        "What happens while the broker's position differs from the books: entries wait, the "
        "broker's position is taken over, or the difference is ignored.",
    )

    passphrase: Passphrase | None = _setting(
        None,
        "gates",
        "Passphrase",
        "secret",
        "A word that the alert's body must carry.",
        is_overridable=False,
    )
    allowed_sources: Sources = _setting(
        (),
        "gates",
        "Allowed sources",
        "list",
        "Addresses or networks that may send alerts; empty allows all.",
        is_overridable=False,
        can_be_off=True,
    )
    duplicate_window: Seconds = _setting(
        30,
        "gates",
        "Duplicate window",
        "integer",
        "The same body again within this time is not traded again; 0 is off.",
        unit="seconds",
        is_overridable=False,
    )
    inverse: StrictBool = _setting(
        False,
        "gates",
        "Inverse",
        "flag",
        "Trade the other side of every alert; its own stop and target are dropped.",
        is_overridable=False,
    )

    max_signal_age: Seconds = _setting(
        0,
        "filters",
        "Oldest signal",
        "integer",
        "Entries of alerts that fired longer ago are skipped; 0 is off.",
        unit="seconds",
    )
    direction: Direction = _setting(
        Direction.BOTH,
        "filters",
        "Direction",
        "choice",
        "Which entries are allowed.",
    )
    allowed_symbols: Symbols = _setting(
        (),
        "filters",
        "Allowed symbols",
        "list",
        "Entries of other symbols are skipped; empty allows all.",
        can_be_off=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_the_default(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            return {name: value for name, value in data.items() if value is not None}
        return data


def _about(name: str) -> _About | None:
    extra = StrategySettings.model_fields[name].json_schema_extra
    about = extra.get("about") if isinstance(extra, dict) else None
    return about if isinstance(about, _About) else None


_ABOUT: dict[str, _About] = {
    name: about for name in StrategySettings.model_fields if (about := _about(name)) is not None
}
NAMES: tuple[str, ...] = tuple(_ABOUT)
"""Every setting, in the order of the form."""
OVERRIDABLE: tuple[str, ...] = tuple(n for n, about in _ABOUT.items() if about.is_overridable)
_SECRETS = tuple(n for n, about in _ABOUT.items() if about.kind == "secret")
_DEFAULTS = StrategySettings()


def _optional_fields() -> dict[str, Any]:
    hints = get_type_hints(StrategySettings, include_extras=True)
    return {name: (hints[name] | None, None) for name in OVERRIDABLE}


if TYPE_CHECKING:
    _OverrideFields = BaseModel
else:
    _OverrideFields = create_model("_OverrideFields", **_optional_fields())


class TraderOverrides(_OverrideFields):
    """What one trader sets differently: the fields of the strategy that a trader may override,
    all optional. None inherits; a switched-off object is kept as its own off value."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    version: Literal[1] = 1


@dataclass(frozen=True, slots=True)
class Effective:
    """What holds for one trader: the values, and for each name where it came from."""

    values: StrategySettings
    sources: Mapping[str, Source]

    def to_json(self) -> dict[str, dict[str, Any]]:
        """``{name: {"value", "source"}}`` of every setting, secrets masked."""
        values = dump(self.values)
        return {name: {"value": values[name], "source": self.sources[name]} for name in NAMES}


def effective(strategy: StrategySettings, overrides: TraderOverrides | None = None) -> Effective:
    """Resolve the two levels. A value that equals the default counts as default, so that a form
    that sends everything back does not change what is shown. Never raises: a combination that
    contradicts itself is reported by ``conflicts``."""
    chosen: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    for name in NAMES:
        own = getattr(overrides, name, None)
        if own is not None:
            chosen[name] = own
            sources[name] = Source.TRADER
            continue
        is_default = getattr(strategy, name) == getattr(_DEFAULTS, name)
        sources[name] = Source.DEFAULT if is_default else Source.STRATEGY
    return Effective(strategy.model_copy(update=chosen), sources)


def conflicts(settings: StrategySettings) -> list[tuple[str, str]]:
    """(field, message) of settings that are fine alone but not together."""
    found: list[tuple[str, str]] = []
    if settings.sizing in _NEEDS_VALUE and settings.sizing_value is None:
        found.append(("sizing_value", f"is required when sizing is {settings.sizing}"))
    if settings.sizing is Sizing.RISK:
        found += _risk_conflicts(settings)
    if settings.entry_delay >= settings.entry_deadline:
        found.append(("entry_delay", "should be shorter than entry_deadline"))
    contracts = sum(
        target.share for target in settings.take_profits if target.share_unit is ShareUnit.CONTRACTS
    )
    if settings.sizing is Sizing.FIXED and contracts > settings.entry_quantity:
        found.append(("take_profits", "the shares add up to more contracts than entry_quantity"))
    return found


_NEEDS_VALUE = (Sizing.RISK, Sizing.EQUITY_PERCENT, Sizing.NOTIONAL)


def _risk_conflicts(settings: StrategySettings) -> list[tuple[str, str]]:
    stop = settings.stop_loss
    if isinstance(stop, StopLoss):
        by_money = stop.unit is Unit.CURRENCY
        return [("stop_loss.unit", "cannot be currency when sizing is risk")] if by_money else []
    if settings.exits_from is ExitsFrom.ALERT:
        return []
    return [("stop_loss", "is required when sizing is risk")]


def parse_strategy(data: object, *, at: str = "") -> StrategySettings:
    """Read a strategy's settings from JSON. ``at`` goes before the field names of errors.

    Raises:
        Invalid: with one (field, message) per fault.
    """
    settings = _read(StrategySettings, data, at)
    _refuse(conflicts(settings), at)
    return settings


def parse_overrides(
    data: object, strategy: StrategySettings | None = None, *, at: str = ""
) -> TraderOverrides:
    """Read a trader's overrides; with ``strategy`` also check what both make together.

    Raises:
        Invalid: with one (field, message) per fault.
    """
    overrides = _read(TraderOverrides, data, at)
    if strategy is not None:
        _refuse(conflicts(effective(strategy, overrides).values), at)
    return overrides


def dump(model: StrategySettings | TraderOverrides) -> dict[str, Any]:
    """JSON values; decimals as text. Secrets read ``"set"``."""
    data = model.model_dump(mode="json")
    return data | {name: SECRET_IS_SET for name in _SECRETS if data.get(name) is not None}


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """One setting (or one part of an object setting) for forms and API documents.

    ``kind``: ``decimal integer choice flag text secret list map object``. ``default`` as JSON.
    """

    name: str
    section: str
    label: str
    unit: str
    kind: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    can_be_off: bool = False
    is_overridable: bool = True
    fields: tuple[SettingInfo, ...] = ()


def describe() -> tuple[SettingInfo, ...]:
    """Every setting, in the order of the form."""
    defaults = dump(_DEFAULTS)
    return tuple(_describe(name, about, defaults[name]) for name, about in _ABOUT.items())


def _describe(name: str, about: _About, default: Any) -> SettingInfo:
    field = StrategySettings.model_fields[name]
    return SettingInfo(
        name=name,
        section=about.section,
        label=about.label,
        unit=about.unit,
        kind=about.kind,
        default=default,
        help=field.description or "",
        choices=_choices(field.annotation),
        can_be_off=about.can_be_off,
        is_overridable=about.is_overridable,
        fields=_parts(field.annotation, about.section),
    )


def _parts(annotation: Any, section: str) -> tuple[SettingInfo, ...]:
    part = _part_of(annotation)
    if part is None:
        return ()
    return tuple(
        SettingInfo(
            name=name,
            section=section,
            label=name.replace("_", " ").capitalize(),
            unit="ticks" if name == "offset_ticks" else "",
            kind=_kind(field.annotation),
            default=None if field.is_required() else _as_json(field.default),
            help=field.description or "",
            choices=_choices(field.annotation),
        )
        for name, field in part.model_fields.items()
    )


def _part_of(annotation: Any) -> type[_Part] | None:
    if isinstance(annotation, type) and issubclass(annotation, _Part):
        return annotation
    inner = (_part_of(argument) for argument in get_args(annotation))
    return next((part for part in inner if part is not None), None)


def _kind(annotation: Any) -> str:
    if _choices(annotation):
        return "choice"
    return "integer" if annotation is int else "decimal"


def _choices(annotation: Any) -> tuple[str, ...]:
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return tuple(member.value for member in annotation)
    return ()


def _as_json(value: Any) -> Any:
    if isinstance(value, Decimal):
        return canonical(value)
    return value.value if isinstance(value, StrEnum) else value


_Model = TypeVar("_Model", bound=BaseModel)


def _read(model: type[_Model], data: object, at: str) -> _Model:
    try:
        return model.model_validate(data)
    except ValidationError as e:
        faults = e.errors(include_url=False, include_input=False)
        errors = [(_path(at, fault["loc"]), _words(fault)) for fault in faults]
    raise _invalid(errors)


def _refuse(errors: list[tuple[str, str]], at: str) -> None:
    if errors:
        raise _invalid([(_path(at, (field,)), message) for field, message in errors])


def _invalid(errors: list[tuple[str, str]]) -> Invalid:
    field, message = errors[0]
    return Invalid(f"{field}: {message}" if field else message, field=field, errors=errors)


def _path(at: str, loc: tuple[int | str, ...]) -> str:
    """The field's path in dots, without pydantic's marks for the member of a union."""
    parts = [str(part) for part in loc if not str(part).startswith("<")]
    return ".".join(([at] if at else []) + parts)


_PLAIN_WORDS = {
    "missing": "is required",
    "model_type": "should be an object",
    "model_attributes_type": "should be an object",
    "dict_type": "should be an object",
    "tuple_type": "should be a list",
    "bool_type": "should be true or false",
}


def _words(fault: ErrorDetails) -> str:
    if fault["type"] == "extra_forbidden":
        name = str(fault["loc"][-1])
        strategy_only = name in NAMES and name not in OVERRIDABLE
        return "is set on the strategy only" if strategy_only else "is not a setting"
    if fault["type"] in _PLAIN_WORDS:
        return _PLAIN_WORDS[fault["type"]]
    return fault["msg"].replace("Input should be", "should be")
