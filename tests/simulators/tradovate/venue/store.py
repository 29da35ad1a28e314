"""Rows of every entity, found by id, by account and by master, and the event of each change."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from tests.simulators.tradovate.venue.schema import MASTERS
from tests.simulators.tradovate.venue.wire import Row, wire

Listener = Callable[[int, Row], None]


class Store:
    """One world's rows. Ids of all entities come from one ascending counter.

    ``watchers`` maps an account to the users who see it and get its events.
    """

    def __init__(self, first_id: int) -> None:
        self._ids = itertools.count(first_id)
        self._rows: dict[str, dict[int, Row]] = defaultdict(dict)
        self._by_account: dict[tuple[str, int], dict[int, Row]] = defaultdict(dict)
        self._by_master: dict[tuple[str, int], dict[int, Row]] = defaultdict(dict)
        self._account_of: dict[tuple[str, int], int] = {}
        self._by_name: dict[tuple[str, str], Row] = {}
        self.archived: dict[str, dict[int, Row]] = defaultdict(dict)
        self.watchers: dict[int, list[int]] = defaultdict(list)
        self.accounts_of: dict[int, list[int]] = defaultdict(list)
        self.listeners: list[Listener] = []

    def new_id(self) -> int:
        return next(self._ids)

    def watch(self, account_id: int, user_id: int) -> None:
        if user_id not in self.watchers[account_id]:
            self.watchers[account_id].append(user_id)
            self.accounts_of[user_id].append(account_id)

    def add(
        self, entity: str, row: Row, *, account_id: int | None = None, silent: bool = False
    ) -> Row:
        """Store a row (its ``id`` is drawn when missing) and tell its watchers."""
        row_id = row.setdefault("id", None)
        if row_id is None:
            row_id = row["id"] = self.new_id()
        self._rows[entity][row_id] = row
        if account_id is not None:
            self._account_of[entity, row_id] = account_id
            self._by_account[entity, account_id][row_id] = row
        master = MASTERS.get(entity)
        if master is not None:
            self._by_master[entity, row[master[1]]][row_id] = row
        if "name" in row:
            self._by_name[entity, row["name"]] = row
        if not silent:
            self._tell(entity, "Created", row)
        return row

    def update(self, entity: str, row_id: int, **changes: Any) -> Row:
        """Change a row in place; a value of None removes the field."""
        row = self._rows[entity][row_id]
        for key, value in changes.items():
            if value is None:
                row.pop(key, None)
            else:
                row[key] = value
        self._tell(entity, "Updated", row)
        return row

    def archive(self, entity: str, row_id: int) -> None:
        """Take a row out of every answer, without an event."""
        row = self._rows[entity].pop(row_id, None)
        if row is None:
            return
        self.archived[entity][row_id] = row
        account_id = self._account_of.get((entity, row_id))
        if account_id is not None:
            self._by_account[entity, account_id].pop(row_id, None)
        master = MASTERS.get(entity)
        if master is not None:
            self._by_master[entity, row[master[1]]].pop(row_id, None)

    def get(self, entity: str, row_id: int) -> Row | None:
        return self._rows[entity].get(row_id)

    def by_name(self, entity: str, name: str) -> Row | None:
        return self._by_name.get((entity, name))

    def rows(self, entity: str) -> Iterable[Row]:
        return self._rows[entity].values()

    def of_account(self, entity: str, account_id: int) -> Iterable[Row]:
        return self._by_account[entity, account_id].values()

    def of_master(self, entity: str, master_id: int) -> Iterable[Row]:
        return self._by_master[entity, master_id].values()

    def account_of(self, entity: str, row_id: int) -> int | None:
        return self._account_of.get((entity, row_id))

    def _tell(self, entity: str, kind: str, row: Row) -> None:
        if not self.listeners:
            return
        account_id = self._account_of.get((entity, row["id"]))
        if account_id is None:
            return
        for user_id in self.watchers[account_id]:
            for listener in self.listeners:
                listener(user_id, {"entityType": entity, "eventType": kind, "entity": wire(row)})
