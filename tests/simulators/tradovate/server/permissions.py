"""What an API key may reach. A domain is a group of entities; the default is set by the key."""

from __future__ import annotations

DOMAINS = {
    "order": "orders",
    "orderversion": "orders",
    "orderstrategy": "orders",
    "orderstrategylink": "orders",
    "orderstrategytype": "orders",
    "executionreport": "orders",
    "command": "commands",
    "commandreport": "commands",
    "position": "positions",
    "fillpair": "positions",
    "fill": "fills",
    "fillfee": "fills",
    "account": "accounts",
    "accountriskstatus": "accounts",
    "cashbalance": "accounts",
    "cashbalancelog": "accounts",
    "marginsnapshot": "accounts",
    "useraccountautoliq": "risk",
    "useraccountpositionlimit": "risk",
    "useraccountriskparameter": "risk",
    "contract": "contracts",
    "contractmaturity": "contracts",
    "contractgroup": "contracts",
    "product": "contracts",
    "productsession": "contracts",
    "productmargin": "contracts",
    "contractmargin": "contracts",
    "currencyrate": "contracts",
    "exchange": "contracts",
    "currency": "contracts",
    "user": "users",
    "md": "marketdata",
}
_READS = frozenset(
    {
        "list",
        "item",
        "items",
        "find",
        "deps",
        "ldeps",
        "suggest",
        "dryrun",
        "rollcontract",
        "rollcontracts",
        "getcashbalancesnapshot",
        "getproductfeeparams",
        "syncrequest",
    }
)


def domain(entity: str) -> str:
    """The domain of an entity type, or of an array of the snapshot by the same name."""
    return DOMAINS.get(entity.lower(), "other")


def needed(path: str) -> tuple[str, str]:
    """(domain, ``read`` or ``full``) that a call asks for."""
    entity, _, operation = path.partition("/")
    is_read = operation in _READS or entity == "md"
    return domain(entity), "read" if is_read else "full"


def allows(granted: str, asked: str) -> bool:
    return granted == "full" or granted == asked
