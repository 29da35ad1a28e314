"""The reads every entity has: list, item, items, find, deps, ldeps, suggest; and the snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tests.simulators.tradovate.venue import schema
from tests.simulators.tradovate.venue.wire import Http, Row, wire
from tests.simulators.tradovate.venue.world import World

MOST_ITEMS = 10
"""More ids than this in ``items`` is a 404 with an empty body (a third party's measurement)."""
SUGGESTIONS = 10
Query = Callable[[str, int, dict[str, str]], Any]


class Queries:
    """What one user may see. What belongs to others does not exist for them (404)."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._operations: dict[str, Query] = {
            "list": self._list,
            "item": self._item,
            "items": self._items,
            "find": self._find,
            "deps": self._deps,
            "ldeps": self._ldeps,
            "suggest": self._suggest,
        }

    def answer(self, user_id: int, path: str, query: dict[str, str]) -> Any:
        """Raises Http 404 for an entity, operation or id that is not there, 400 for a bad id."""
        name, _, operation = path.partition("/")
        entity = schema.BY_LOWER.get(name)
        handler = self._operations.get(operation)
        if entity is None or handler is None or not self._exists(entity):
            raise Http(404)
        self._world.library.refresh(self._world.now())
        return handler(entity, user_id, {key.lower(): value for key, value in query.items()})

    def snapshot(
        self,
        user_id: int,
        accounts: Iterable[int] | None,
        users: Iterable[int] | None,
        entity_types: Iterable[str] | None,
    ) -> Row:
        """The arrays of ``user/syncrequest``; see ``Venue.snapshot``."""
        self._world.library.refresh(self._world.now())
        wanted = set(schema.PLURALS) if entity_types is None else set(entity_types)
        visible = set(self._accounts(user_id))
        if accounts is not None:
            visible &= set(accounts)
        if users is not None and user_id not in set(users):
            visible = set()
        answer: Row = {"users": self._dump(self._rows("user", user_id, visible))}
        answer["contractGroups"] = self._dump(self._world.store.rows("contractGroup"))
        for entity, plural in schema.PLURALS.items():
            if entity in wanted and plural not in answer and self._exists(entity):
                answer[plural] = self._dump(self._for_snapshot(entity, user_id, visible))
        return answer

    def _for_snapshot(self, entity: str, user_id: int, visible: set[int]) -> Iterable[Row]:
        if entity in {"contract", "contractMaturity", "product"}:
            return self._referenced(entity, visible)
        return self._rows(entity, user_id, visible)

    def _referenced(self, entity: str, visible: set[int]) -> list[Row]:
        """Of the library, only what orders and positions of these accounts name."""
        store, library = self._world.store, self._world.library
        rows: dict[int, Row] = {}
        for account_id in visible:
            for naming in ("order", "position"):
                for row in store.of_account(naming, account_id):
                    contract = library.contract(row["contractId"])
                    row_id = {
                        "contract": contract.id,
                        "contractMaturity": contract.maturity_id,
                        "product": contract.product_id,
                    }[entity]
                    rows[row_id] = store.get(entity, row_id) or {}
        return list(rows.values())

    def _exists(self, entity: str) -> bool:
        return entity != "fillFee" or self._world.is_2026

    def _accounts(self, user_id: int) -> list[int]:
        hidden = self._world.switches.hidden_accounts
        return [each for each in self._world.store.accounts_of[user_id] if each not in hidden]

    def _rows(self, entity: str, user_id: int, accounts: Iterable[int]) -> Iterable[Row]:
        store = self._world.store
        if entity == "user":
            own = store.get("user", user_id)
            return [own] if own else []
        if entity in schema.LIBRARY:
            return store.rows(entity)
        return [row for each in sorted(accounts) for row in store.of_account(entity, each)]

    def _sees(self, entity: str, row_id: int, user_id: int) -> bool:
        if entity in schema.LIBRARY:
            return True
        if entity == "user":
            return row_id == user_id
        account_id = self._world.store.account_of(entity, row_id)
        hidden = self._world.switches.hidden_accounts
        if account_id is None or account_id in hidden:
            return False
        return user_id in self._world.store.watchers[account_id]

    def _visible(self, entity: str, row_id: int, user_id: int) -> Row | None:
        row = self._world.store.get(entity, row_id)
        return row if row is not None and self._sees(entity, row_id, user_id) else None

    def _list(self, entity: str, user_id: int, query: dict[str, str]) -> list[Row]:
        del query
        if entity in schema.WITHOUT_LIST:
            raise Http(404)
        return self._dump(self._rows(entity, user_id, self._accounts(user_id)))

    def _item(self, entity: str, user_id: int, query: dict[str, str]) -> Row:
        row = self._visible(entity, _id(query.get("id")), user_id)
        if row is None:
            raise Http(404)
        return wire(row)

    def _items(self, entity: str, user_id: int, query: dict[str, str]) -> list[Row]:
        ids = _ids(query.get("ids"))
        if len(ids) > MOST_ITEMS:
            raise Http(404)
        found = (self._visible(entity, each, user_id) for each in sorted(set(ids)))
        return self._dump(row for row in found if row is not None)

    def _find(self, entity: str, user_id: int, query: dict[str, str]) -> Row:
        row = self._world.store.by_name(entity, query.get("name", ""))
        if entity not in schema.NAMED or row is None or not self._sees(entity, row["id"], user_id):
            raise Http(404)
        return wire(row)

    def _deps(self, entity: str, user_id: int, query: dict[str, str]) -> list[Row]:
        return self._dependants(entity, user_id, [_id(query.get("masterid"))])

    def _ldeps(self, entity: str, user_id: int, query: dict[str, str]) -> list[Row]:
        return self._dependants(entity, user_id, _ids(query.get("masterids")))

    def _dependants(self, entity: str, user_id: int, masters: list[int]) -> list[Row]:
        master = schema.master_of(entity)
        if master is None:
            raise Http(404)
        store = self._world.store
        if not all(self._visible(master, each, user_id) for each in masters):
            raise Http(404)
        rows = (row for each in masters for row in store.of_master(entity, each))
        return self._dump(row for row in rows if self._sees(entity, row["id"], user_id))

    def _suggest(self, entity: str, user_id: int, query: dict[str, str]) -> list[Row]:
        text, limit = query.get("t", ""), _id(query.get("l", str(SUGGESTIONS)))
        if entity == "contract":
            return self._dump(self._world.library.suggest(text, limit, self._world.now()))
        if entity not in schema.NAMED:
            raise Http(404)
        rows = self._rows(entity, user_id, self._accounts(user_id))
        return self._dump([r for r in rows if text.upper() in r["name"].upper()][:limit])

    def _dump(self, rows: Iterable[Row]) -> list[Row]:
        return [wire(row) for row in rows]


def _id(text: str | None) -> int:
    try:
        return int(str(text))
    except ValueError:
        raise Http(400, "Malformed request") from None


def _ids(text: str | None) -> list[int]:
    return [_id(each) for each in str(text or "").split(",")]
