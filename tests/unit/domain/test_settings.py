from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from app.domain.errors import Invalid
from app.domain.settings import (
    NAMES,
    OFF,
    ActOn,
    EntryType,
    OnOpposite,
    Source,
    StopLoss,
    StrategySettings,
    TraderOverrides,
    Unit,
    describe,
    dump,
    effective,
    parse_overrides,
    parse_strategy,
)


def errors_of(data: object) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        parse_strategy(data)
    return caught.value.errors


def test_an_empty_object_has_every_default() -> None:
    settings = parse_strategy({})

    assert (settings.entry_quantity, settings.add_quantity) == (Decimal(1), Decimal(0))
    assert (settings.entry_delay, settings.entry_deadline, settings.duplicate_window) == (0, 60, 30)
    assert (settings.act_on, settings.on_opposite) == (ActOn.TARGET_IF_PRESENT, OnOpposite.REVERSE)
    assert (settings.stop_loss, settings.take_profits, settings.contract) == (OFF, (), "front")
    assert settings.version == 1


def test_null_is_the_default() -> None:
    assert parse_strategy({"entry_quantity": None, "stop_loss": None}) == StrategySettings()


def test_decimals_come_in_as_numbers_or_text_and_go_out_as_text() -> None:
    settings = parse_strategy(
        {
            "entry_quantity": 2,
            "multiplier": 0.5,
            "max_position": Decimal("1E+1"),
            "stop_loss": {"distance": " 10.50 "},
        }
    )

    out = json.loads(json.dumps(dump(settings)))

    assert (out["entry_quantity"], out["multiplier"], out["max_position"]) == ("2", "0.5", "10")
    assert out["stop_loss"] == {"distance": "10.5", "unit": "ticks"}
    assert parse_strategy(out) == settings


@pytest.mark.parametrize(
    ("data", "field", "words"),
    [
        ({"entry_quantity": 0}, "entry_quantity", "greater than 0"),
        ({"entry_quantity": "NaN"}, "entry_quantity", "plain number"),
        ({"entry_quantity": float("inf")}, "entry_quantity", "plain number"),
        ({"entry_quantity": "1e3"}, "entry_quantity", "plain number"),
        ({"entry_quantity": True}, "entry_quantity", "number"),
        ({"entry_quantity": "off"}, "entry_quantity", "number"),
        ({"entry_quantity": "1000000001"}, "entry_quantity", "less than or equal"),
        ({"multiplier": "-1"}, "multiplier", "greater than 0"),
        ({"entry_delay": "1.5"}, "entry_delay", "whole number"),
        ({"sizing": "martingale"}, "sizing", "'fixed', 'signal', 'risk'"),
        ({"on_opposite": "off"}, "on_opposite", "'reverse', 'close_only' or 'refuse'"),
        ({"entry_order": {"type": "iceberg"}}, "entry_order.type", "'market', 'limit'"),
        ({"entry_order": {"offset": 1}}, "entry_order.offset", "is not a setting"),
        ({"stop_loss": {"unit": "ticks"}}, "stop_loss.distance", "is required"),
        ({"stop_loss": "tight"}, "stop_loss", "should be an object"),
        ({"stop_loss": {"distance": 100, "unit": "percent"}}, "stop_loss", "below 100"),
        ({"take_profits": [{"distance": "x"}]}, "take_profits.0.distance", "plain number"),
        ({"take_profits": [{"distance": 1}] * 2}, "take_profits", "takes one target"),
        ({"take_profits": [{"distance": 1, "share": 101}]}, "take_profits.0", "100 percent"),
        ({"allowed_sources": ["10.0.0.0/40"]}, "allowed_sources.0", "IP address"),
        ({"symbol_map": {"NQ": 5}}, "symbol_map", "NQ should map"),
        ({"contract": "MNQ;"}, "contract", "symbol"),
        ({"inverse": "yes"}, "inverse", "true or false"),
        ({"version": 2}, "version", "should be 1"),
        ({"entry_quantiy": 1}, "entry_quantiy", "is not a setting"),
        ([], "", "should be an object"),
        ({"sizing": "notional"}, "sizing_value", "is required when sizing is notional"),
        ({"sizing": "risk", "sizing_value": 50}, "stop_loss", "is required when sizing is risk"),
        (
            {
                "sizing": "risk",
                "sizing_value": 50,
                "stop_loss": {"distance": 1, "unit": "currency"},
            },
            "stop_loss.unit",
            "cannot be currency",
        ),
        ({"entry_delay": 60}, "entry_delay", "shorter than entry_deadline"),
        (
            {"take_profits": [{"distance": 1, "share": 2, "share_unit": "contracts"}]},
            "take_profits",
            "more contracts than entry_quantity",
        ),
    ],
)
def test_a_fault_is_refused_and_names_its_field(data: object, field: str, words: str) -> None:
    ((where, message),) = errors_of(data)

    assert where == field
    assert words in message


def test_all_faults_are_told_at_once_under_the_given_path() -> None:
    with pytest.raises(Invalid) as caught:
        parse_strategy({"sizing": "x", "rounding": "y"}, at="settings")

    assert [field for field, _ in caught.value.errors] == ["settings.sizing", "settings.rounding"]


def test_off_switches_object_settings_off() -> None:
    settings = parse_strategy(
        {"stop_loss": "off", "take_profits": "off", "symbol_map": "off", "allowed_symbols": "off"}
    )

    assert settings == StrategySettings()


def test_a_word_is_enough_for_the_entry_order() -> None:
    assert parse_strategy({"entry_order": "limit"}).entry_order.type is EntryType.LIMIT


def test_symbols_and_sources_are_normalised() -> None:
    settings = parse_strategy(
        {
            "symbol_map": {" nq": "mnq"},
            "allowed_symbols": ["mnq1!", "MNQ1!"],
            "allowed_sources": ["203.0.113.7", "203.0.113.9/24"],
            "contract": "Front",
        }
    )

    assert settings.symbol_map == {"NQ": "MNQ"}
    assert settings.allowed_symbols == ("MNQ1!",)
    assert settings.allowed_sources == ("203.0.113.7", "203.0.113.0/24")
    assert settings.contract == "front"


def test_a_secret_is_dumped_as_set() -> None:
    settings = parse_strategy({"passphrase": "open sesame"})

    shown = dump(settings)

    assert shown["passphrase"] == "set"
    assert parse_strategy(shown).passphrase == "set"


def test_each_level_is_resolved_and_says_where_it_came_from() -> None:
    strategy = parse_strategy({"entry_quantity": 3, "max_position": 5})
    overrides = parse_overrides({"max_position": 0, "multiplier": 2, "rounding": None}, strategy)

    result = effective(strategy, overrides)

    assert (result.values.entry_quantity, result.values.max_position) == (Decimal(3), Decimal(0))
    assert result.sources["entry_quantity"] is Source.STRATEGY
    assert result.sources["max_position"] is Source.TRADER
    assert result.sources["rounding"] is Source.DEFAULT
    assert result.to_json()["multiplier"] == {"value": "2", "source": "trader"}


def test_a_trader_switches_the_strategys_objects_off() -> None:
    strategy = parse_strategy(
        {"stop_loss": {"distance": 8}, "take_profits": [{"distance": 20}], "inverse": True}
    )
    overrides = parse_overrides({"stop_loss": "off", "take_profits": "off"})

    stored = TraderOverrides.model_validate(dump(overrides))
    result = effective(strategy, stored)

    assert (result.values.stop_loss, result.values.take_profits) == (OFF, ())
    assert result.values.inverse is True
    assert result.sources["stop_loss"] is Source.TRADER


def test_without_overrides_everything_is_inherited() -> None:
    strategy = parse_strategy({"stop_loss": {"distance": "2.5", "unit": "points"}})

    result = effective(strategy, TraderOverrides())

    assert result.values == strategy
    assert result.values.stop_loss == StopLoss(distance=Decimal("2.5"), unit=Unit.POINTS)


@pytest.mark.parametrize("name", ["passphrase", "allowed_sources", "duplicate_window", "inverse"])
def test_what_belongs_to_the_webhook_cannot_be_overridden(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_overrides({name: "x"})

    assert caught.value.errors == [(name, "is set on the strategy only")]


def test_overrides_that_contradict_the_strategy_are_refused() -> None:
    with pytest.raises(Invalid) as caught:
        parse_overrides({"sizing": "risk", "sizing_value": "100"}, StrategySettings())

    assert caught.value.errors == [("stop_loss", "is required when sizing is risk")]


def test_every_setting_is_described_with_a_default_that_reads_back() -> None:
    table = describe()

    defaults: dict[str, Any] = {info.name: info.default for info in table}
    assert [info.name for info in table] == list(NAMES)
    assert {*NAMES, "version"} == set(StrategySettings.model_fields)
    assert parse_strategy(json.loads(json.dumps(defaults))) == StrategySettings()
    assert all(info.label and info.help.endswith(".") for info in table)
    assert all(part.help for info in table for part in info.fields)
    assert all(bool(info.choices) == (info.kind == "choice") for info in table)
