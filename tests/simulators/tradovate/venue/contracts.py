"""The contract verbs: rolling, and what products cost (reference 3.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.simulators.tradovate.venue import validation as v
from tests.simulators.tradovate.venue.library import USD
from tests.simulators.tradovate.venue.wire import Row
from tests.simulators.tradovate.venue.world import World

DIRECTION = {"forward": v.BOOLEAN, "ifExpired": v.BOOLEAN}
ROLL = {"name": v.must(v.TEXT), **DIRECTION}
ROLL_MANY = {"names": v.must(v.STRINGS), **DIRECTION}
FEE_PARAMS = {"productIds": v.must(v.INTEGERS)}


class ContractDesk:
    def __init__(self, world: World) -> None:
        self._world = world
        self.verbs: dict[str, Callable[[int, Any], Row]] = {
            "contract/rollcontract": self.roll,
            "contract/rollcontracts": self.roll_many,
            "contract/getproductfeeparams": self.fee_params,
        }

    def roll(self, user_id: int, body: Any) -> Row:
        del user_id
        given = v.checked(body, ROLL)
        row = self._rolled(given["name"], given)
        return {"contract": row} if row else {"errorText": "No contract to roll to"}

    def roll_many(self, user_id: int, body: Any) -> Row:
        del user_id
        given = v.checked(body, ROLL_MANY)
        rows = [self._rolled(name, given) for name in given["names"]]
        if not all(rows):
            return {"errorText": "No contract to roll to"}
        return {"contracts": rows}

    def fee_params(self, user_id: int, body: Any) -> Row:
        del user_id
        given = v.checked(body, FEE_PARAMS)
        rows = []
        for product_id in given["productIds"]:
            product = self._world.library.product_of(product_id)
            if product is None:
                continue
            fees = product.fees
            rows.append(
                {
                    "productId": product_id,
                    "clearingFee": fees.clearing,
                    "clearingCurrencyId": USD,
                    "exchangeFee": fees.exchange,
                    "exchangeCurrencyId": USD,
                    "nfaFee": fees.nfa,
                    "nfaCurrencyId": USD,
                    "commission": fees.commission,
                    "commissionCurrencyId": USD,
                    "dayMargin": product.margin,
                    "fullMargin": product.margin,
                }
            )
        return {"params": rows}

    def _rolled(self, name: str, given: Row) -> Row | None:
        """The neighbour of a contract; with ``ifExpired`` itself while it still trades."""
        world = self._world
        world.library.refresh(world.now())
        contract = world.library.find(name)
        if contract is None:
            return None
        if not given.get("ifExpired", False) or contract.expires <= world.now():
            contract = world.library.neighbour(contract, forward=given.get("forward", True))
        return world.store.get("contract", contract.id) if contract else None
