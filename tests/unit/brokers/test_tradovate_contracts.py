"""The contract library: asked once, kept for a day, never guessed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from app.brokers.tradovate import contracts
from app.brokers.tradovate.contracts import Contracts
from app.brokers.tradovate.errors import NotThere
from app.domain.errors import BrokerRefused

PRODUCT = {"id": 9, "name": "GC", "tickSize": Decimal("0.1"), "valuePerPoint": 100}
MATURITIES = [
    {"id": 2, "expirationMonth": 209912, "expirationDate": "2099-12-29T18:30Z",
     "firstIntentDate": "2099-11-30T00:00Z"},
    {"id": 1, "expirationMonth": 209910, "expirationDate": "2099-10-28T18:30:00.000Z"},
    {"id": 3, "expirationMonth": 202010, "expirationDate": "2020-10-28T18:30Z"},
    {"id": 4, "expirationMonth": None, "expirationDate": "soon"},
]  # fmt: skip


class Library:
    """Answers by path; what it does not have is 404."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {path.replace("__", "/"): answer for path, answer in answers.items()}
        self.asked: list[tuple[str, Any]] = []

    def __call__(self, path: str, *, query: Any = None) -> Any:
        self.asked.append((path, query))
        if path not in self.answers:
            raise NotThere
        return self.answers[path]


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [1000.0]
    monkeypatch.setattr(contracts, "monotonic", lambda: now[0])

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    return pass_time


def test_an_id_is_asked_for_once_a_day(pass_time: Callable[[float], None]) -> None:
    library, known = Library(contract__find={"id": 7, "name": "GCZ9"}), Contracts()

    assert [known.resolve_id("GCZ9", library) for _ in range(2)] == [7, 7]
    assert library.asked == [("contract/find", {"name": "GCZ9"})]
    pass_time(24 * 3600 + 1)
    known.resolve_id("GCZ9", library)
    assert len(library.asked) == 2
    assert known.name_of(7) == "GCZ9"


def test_an_unknown_contract_names_its_neighbours() -> None:
    library = Library(contract__suggest=[{"id": 1, "name": "GCZ9"}, {"id": 2, "name": "GCG0"}])

    with pytest.raises(BrokerRefused) as refused:
        Contracts().resolve_id("GCX9", library)

    assert refused.value.code == "unknown_contract"
    assert "GCZ9, GCG0" in refused.value.detail
    assert library.asked[-1] == ("contract/suggest", {"t": "GC", "l": 10})


def test_names_are_asked_for_in_tens() -> None:
    library, known = Library(contract__items=[{"id": 3, "name": "GCZ9"}]), Contracts()

    known.resolve_names(range(1, 26), library)
    known.resolve_names([3], library)

    assert [len(query["ids"].split(",")) for _, query in library.asked] == [10, 10, 5]
    assert (known.name_of(3), known.name_of(4)) == ("GCZ9", None)


def test_ticks_and_points_are_the_brokers_own() -> None:
    library, known = Library(product__find=PRODUCT), Contracts()

    facts = [known.facts(name, library) for name in ("GCZ9", "GCG0")]

    assert facts[0] == facts[1] == contracts.ContractFacts(Decimal("0.1"), Decimal(100))
    assert len(library.asked) == 1


def test_maturities_are_those_to_come_in_order() -> None:
    library, known = Library(product__find=PRODUCT, contractMaturity__deps=MATURITIES), Contracts()

    found = known.maturities("GC", library)

    assert [m.code for m in found] == ["GCV9", "GCZ9"]
    assert found[1].expires_on == date(2099, 12, 29)
    assert [m.first_notice_on for m in found] == [None, date(2099, 11, 30)]


def test_what_was_asked_for_without_a_request_is_read_next_time() -> None:
    library, known = Library(product__find=PRODUCT, contractMaturity__deps=MATURITIES), Contracts()
    assert known.known_maturities("GC") == ()
    assert library.asked == []

    known.prefetch(library)
    known.prefetch(library)

    assert [m.code for m in known.known_maturities("GC")] == ["GCV9", "GCZ9"]
    assert len(library.asked) == 2


def test_a_product_that_tradovate_lacks_is_not_asked_for_again() -> None:
    library, known = Library(), Contracts()
    known.known_maturities("GC")

    known.prefetch(library)
    known.prefetch(library)

    assert len(library.asked) == 1
