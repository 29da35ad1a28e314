"""The simulated venue: reads, the snapshot and the contract library."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from tests.simulators.tradovate.venue import Http, Venue
from tests.simulators.tradovate.venue.library import last_trading_day
from tests.simulators.tradovate.venue.schema import (
    EMPTY,
    ENTITIES,
    LIBRARY,
    MASTERS,
    WITHOUT_LIST,
)
from tests.unit.simulators.venue_trader import MNQ, Trader


def busy() -> Trader:
    """Somebody with a row of nearly everything."""
    trader = Trader()
    trader.strategy(
        {
            "entryVersion": {"orderQty": 1, "orderType": "Market"},
            "brackets": [{"qty": 1, "profitTarget": 30, "stopLoss": -15}],
        }
    )
    trader.price("20031")
    return trader


@pytest.mark.parametrize("entity", sorted(ENTITIES - WITHOUT_LIST))
def test_every_list_is_for_its_owner_only(entity: str) -> None:
    trader = busy()
    stranger = trader.venue.add_user("stranger", "secret")

    mine = trader.do(f"{entity}/list")
    theirs = trader.venue.call(stranger.id, f"{entity}/list", {})

    if entity in LIBRARY:
        assert mine == theirs != []
    else:
        seen = {row["id"] for row in theirs}
        assert seen.isdisjoint(row["id"] for row in mine)


@pytest.mark.parametrize("entity", sorted(MASTERS))
def test_every_dependant_is_found_by_its_master(entity: str) -> None:
    trader = busy()
    master, field = MASTERS[entity]
    masters = trader.do(f"{master}/list")

    found = [row for each in masters for row in trader.do(f"{entity}/deps", masterid=each["id"])]
    ids = ",".join(str(each["id"]) for each in masters)
    together = trader.do(f"{entity}/ldeps", masterids=ids)

    assert found == together
    assert {row[field] for row in found} <= {each["id"] for each in masters}
    if entity not in {"userAccountAutoLiq"}:
        assert found


@pytest.mark.parametrize("entity", sorted(EMPTY))
def test_what_is_not_simulated_can_be_listed_and_is_empty(entity: str) -> None:
    trader = busy()

    assert trader.do(f"{entity}/list") == []
    master = EMPTY[entity]
    if master in ENTITIES:
        master_id = trader.do(f"{master}/list")[0]["id"]
        assert trader.do(f"{entity}/deps", masterid=master_id) == []


@pytest.mark.parametrize("entity", ["executionReport", "orderStrategyType", "clearingHouse"])
def test_what_has_a_name_is_found_by_it(entity: str) -> None:
    trader = busy()
    row = trader.do(f"{entity}/list")[0]

    assert trader.do(f"{entity}/find", name=row["name"]) == row
    assert row in trader.do(f"{entity}/suggest", t=row["name"])


def test_item_and_items() -> None:
    trader = busy()
    ids = [row["id"] for row in trader.do("order/list")]

    assert trader.do("order/item", id=ids[0])["id"] == ids[0]
    found = trader.do("order/items", ids=f"{ids[1]},999999,{ids[0]}")
    assert {row["id"] for row in found} == set(ids[:2])


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("order/item", {"id": 999_999}, 404),
        ("order/item", {"id": "x"}, 400),
        ("order/item", {}, 400),
        ("order/items", {"ids": ",".join(map(str, range(11)))}, 404),
        ("order/deps", {"masterid": 999_999}, 404),
        ("account/find", {"name": "DEMO9"}, 404),
        ("contract/find", {"name": "MNQ1!"}, 404),
        ("position/find", {"name": "MNQ"}, 404),
        ("cashbalancelog/list", {}, 404),
        ("nothing/list", {}, 404),
        ("order/nothing", {}, 404),
        ("order", {}, 404),
    ],
)
def test_reads_that_find_nothing(path: str, query: Any, status: int) -> None:
    with pytest.raises(Http) as refusal:
        Trader().do(path, **query)

    assert refusal.value.status == status


def test_ten_items_pass() -> None:
    assert Trader().do("order/items", ids=",".join(map(str, range(10)))) == []


def test_rows_of_others_do_not_exist() -> None:
    trader = busy()
    stranger = trader.venue.add_user("stranger", "secret")
    order = trader.do("order/list")[0]["id"]

    for path, query in (
        ("order/item", {"id": str(order)}),
        ("fill/deps", {"masterid": str(order)}),
        ("account/find", {"name": "DEMO1"}),
    ):
        with pytest.raises(Http, match="404"):
            trader.venue.call(stranger.id, path, query)


def test_ids_of_one_world_do_not_exist_in_the_other() -> None:
    demo, live = Trader(), Trader(first_id=10_000_000)
    demo.place()

    assert live.do("contract/find", name=MNQ)["id"] > 10_000_000
    with pytest.raises(Http, match="404"):
        live.do("order/item", id=demo.do("order/list")[0]["id"])


def test_paths_ignore_case() -> None:
    trader = Trader()

    assert trader.do("/executionReport/List") == []
    assert "orderId" in trader.do("order/placeOrder", trader.ticket())


def test_a_shared_account_is_seen_traded_and_heard_by_both() -> None:
    trader = Trader()
    partner = trader.venue.add_user("partner", "secret")
    trader.venue.share_account(trader.account["id"], partner)

    answer = trader.venue.call(partner.id, "order/placeorder", {}, trader.ticket())

    assert trader.status(answer["orderId"]) == "Filled"
    assert trader.events
    assert trader.venue.call(partner.id, "account/list", {})[0]["name"] == "DEMO1"


def test_a_hidden_account_is_missing_for_a_while() -> None:
    trader = Trader()
    trader.place()
    trader.switches.assign(hidden_accounts=[trader.account["id"]])

    assert trader.do("account/list") == trader.do("position/list") == []
    assert trader.venue.snapshot(trader.user.id)["accounts"] == []

    trader.switches.assign(hidden_accounts=[])
    assert len(trader.do("account/list")) == 1


def test_the_snapshot_has_what_the_lists_have() -> None:
    trader = busy()

    snapshot = trader.venue.snapshot(trader.user.id)

    for entity, plural in (("order", "orders"), ("fill", "fills"), ("position", "positions")):
        assert snapshot[plural] == trader.do(f"{entity}/list") != []
    assert [row["name"] for row in snapshot["contracts"]] == [MNQ]
    assert snapshot["users"][0]["id"] == trader.user.id


def test_the_snapshot_narrows_to_entities_and_accounts() -> None:
    trader = busy()
    quiet = trader.venue.add_account(trader.user, "DEMO2")["id"]

    some = trader.venue.snapshot(trader.user.id, entity_types=["order"], accounts=[quiet])
    none = trader.venue.snapshot(trader.user.id, entity_types=[])

    assert set(some) == {"users", "contractGroups", "orders"}
    assert some["orders"] == []
    assert set(none) == {"users", "contractGroups"}


def test_events_are_copies() -> None:
    trader = Trader()
    trader.place()

    first = next(row for entity, _, row in trader.events if entity == "order")

    assert first["ordStatus"] == "PendingNew"


def test_suggestions_begin_with_the_front() -> None:
    names = [row["name"] for row in Trader().do("contract/suggest", t="ES", l=8)]

    assert names[:3] == ["ESH6", "ESM6", "ESU6"]
    assert "MESH6" in names


def test_front_flips_at_expiry_only() -> None:
    trader = Trader()
    product = trader.do("product/find", name="MNQ")

    def front() -> list[int]:
        maturities = trader.do("contractmaturity/deps", masterid=product["id"])
        return [row["expirationMonth"] for row in maturities if row["isFront"]]

    trader.time = datetime(2026, 3, 20, 20, 59, tzinfo=UTC)
    assert front() == [202603]
    trader.time = datetime(2026, 3, 20, 21, 0, tzinfo=UTC)
    assert front() == [202606]
    answer = trader.do("order/placeorder", trader.ticket())
    assert answer["failureReason"] == "InvalidContract"


@pytest.mark.parametrize(
    ("name", "given", "rolled"),
    [
        ("MNQH6", {"forward": True}, "MNQM6"),
        ("MNQM6", {"forward": False}, "MNQH6"),
        ("MNQH6", {"forward": True, "ifExpired": True}, "MNQH6"),
        ("MNQZ5", {"forward": True, "ifExpired": True}, "MNQH6"),
        ("GCJ6", {}, "GCM6"),
        ("MNQZ5", {"forward": False}, None),
        ("XXZ5", {}, None),
    ],
)
def test_rolling(name: str, given: Any, rolled: str | None) -> None:
    trader = Trader()

    answer = trader.do("contract/rollcontract", {"name": name, **given})
    many = trader.do("contract/rollcontracts", {"names": [name], **given})

    assert answer.get("contract", {}).get("name") == rolled
    assert ("errorText" in answer) == ("errorText" in many) == (rolled is None)


@pytest.mark.parametrize(
    ("rule", "month", "day"),
    [
        ("index", date(2025, 12, 1), date(2025, 12, 19)),
        ("currency", date(2025, 12, 1), date(2025, 12, 15)),
        ("rates", date(2025, 9, 1), date(2025, 9, 19)),
        ("crude", date(2026, 1, 1), date(2025, 12, 22)),
        ("gas", date(2026, 3, 1), date(2026, 2, 25)),
        ("metal", date(2026, 4, 1), date(2026, 4, 28)),
    ],
)
def test_last_trading_days(rule: str, month: date, day: date) -> None:
    assert last_trading_day(rule, month) == day


@pytest.mark.parametrize(
    ("root", "tick", "value"),
    [("NQ", 0.25, 20), ("MYM", 1, 0.5), ("ZN", 0.015625, 1000), ("6E", 0.00005, 125000)],
)
def test_products(root: str, tick: float, value: float) -> None:
    trader = Trader()
    product = trader.do("product/find", name=root)
    session = trader.do("productsession/item", id=product["id"])
    fees = trader.do("contract/getproductfeeparams", {"productIds": [product["id"], 1]})

    assert (product["tickSize"], product["valuePerPoint"]) == (tick, value)
    assert session["closeTime"] == {"hour": 17, "minute": 0}
    assert [row["productId"] for row in fees["params"]] == [product["id"]]


def test_unknown_shapes_and_switches_are_errors() -> None:
    with pytest.raises(ValueError, match="shapes"):
        Venue(now=lambda: datetime(2026, 1, 1, tzinfo=UTC), shapes="1999")
    with pytest.raises(ValueError, match="no such switch: invented"):
        Trader().switches.assign(invented=True)


@pytest.mark.parametrize(
    "values", [{"reject_next": "Because"}, {"reject_after_accept": "Rejected"}]
)
def test_reasons_that_the_service_does_not_have(values: Any) -> None:
    with pytest.raises(ValueError, match="Because|Rejected"):
        Trader().switches.assign(**values)


def test_a_row_knows_its_account() -> None:
    trader = busy()
    command = trader.do("command/list")[0]

    assert trader.venue.account_of("command", command["id"]) == trader.account["id"]
    assert trader.venue.account_of("contract", trader.do("contract/list")[0]["id"]) is None
