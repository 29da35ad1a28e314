"""Names and enums of the API (reference 1, 3.3 and 5.4)."""

from __future__ import annotations

MASTERS: dict[str, tuple[str, str]] = {
    "cashBalance": ("account", "accountId"),
    "cashBalanceLog": ("account", "accountId"),
    "marginSnapshot": ("account", "id"),
    "accountRiskStatus": ("account", "id"),
    "userAccountAutoLiq": ("account", "id"),
    "position": ("account", "accountId"),
    "order": ("account", "accountId"),
    "orderStrategy": ("account", "accountId"),
    "command": ("order", "orderId"),
    "orderVersion": ("order", "orderId"),
    "fill": ("order", "orderId"),
    "commandReport": ("command", "commandId"),
    "executionReport": ("command", "commandId"),
    "fillPair": ("position", "positionId"),
    "fillFee": ("fill", "id"),
    "orderStrategyLink": ("orderStrategy", "orderStrategyId"),
    "contractMaturity": ("product", "productId"),
    "productSession": ("product", "id"),
    "productMargin": ("product", "id"),
    "contract": ("contractMaturity", "contractMaturityId"),
    "product": ("exchange", "exchangeId"),
    "account": ("user", "userId"),
}
"""Dependant -> (its master, the field that names the master)."""

PLURALS: dict[str, str] = {
    "user": "users",
    "account": "accounts",
    "accountRiskStatus": "accountRiskStatuses",
    "marginSnapshot": "marginSnapshots",
    "userAccountAutoLiq": "userAccountAutoLiqs",
    "cashBalance": "cashBalances",
    "currency": "currencies",
    "position": "positions",
    "fillPair": "fillPairs",
    "order": "orders",
    "contract": "contracts",
    "contractMaturity": "contractMaturities",
    "product": "products",
    "exchange": "exchanges",
    "spreadDefinition": "spreadDefinitions",
    "command": "commands",
    "commandReport": "commandReports",
    "executionReport": "executionReports",
    "orderVersion": "orderVersions",
    "fill": "fills",
    "fillFee": "fillFees",
    "orderStrategy": "orderStrategies",
    "orderStrategyLink": "orderStrategyLinks",
    "userProperty": "userProperties",
    "property": "properties",
    "userPlugin": "userPlugins",
    "contractGroup": "contractGroups",
    "orderStrategyType": "orderStrategyTypes",
}
"""Entity -> the name of its array in the snapshot."""

LIBRARY = frozenset(
    {
        "contract",
        "contractMaturity",
        "product",
        "productSession",
        "productMargin",
        "clearingHouse",
        "exchange",
        "currency",
        "contractGroup",
        "orderStrategyType",
    }
)
"""Entities that everybody sees."""

EMPTY: dict[str, str | None] = {
    "adminAlert": None,
    "adminAlertSignal": "adminAlert",
    "alert": None,
    "alertSignal": "alert",
    "contactInfo": "user",
    "contractMargin": "contract",
    "currencyRate": "currency",
    "entitlement": None,
    "marketDataSubscription": "user",
    "organization": None,
    "secondMarketDataSubscription": "user",
    "tradingPermission": "user",
    "tradovateSubscription": "user",
    "userAccountPositionLimit": "account",
    "userAccountRiskParameter": "userAccountPositionLimit",
    "userPlugin": "user",
    "userProperty": "user",
    "userSession": None,
    "userSessionStats": "user",
}
"""Entities of the service that hold nothing here, with their masters; clients may list them."""

ENTITIES = frozenset(MASTERS) | frozenset(PLURALS) | {"clearingHouse"}
BY_LOWER = {name.lower(): name for name in ENTITIES | frozenset(EMPTY)}
WITHOUT_LIST = frozenset({"cashBalanceLog"})
NAMED = frozenset(
    {
        "account",
        "clearingHouse",
        "contract",
        "contractGroup",
        "currency",
        "exchange",
        "executionReport",
        "orderStrategyType",
        "product",
        "user",
    }
)
"""Entities with a ``name``, the only ones that ``find`` can find."""

ACTIONS = frozenset({"Buy", "Sell"})
ORDER_TYPES = frozenset(
    {"Market", "Limit", "Stop", "StopLimit", "TrailingStop", "TrailingStopLimit", "MIT", "QTS"}
)
ORDER_TYPES_2026 = ORDER_TYPES | {"LimitIfTouched"}
TRAILING = frozenset({"TrailingStop", "TrailingStopLimit"})
TIMES_IN_FORCE = frozenset({"Day", "GTC", "GTD", "FOK", "IOC"})
FINAL = frozenset({"Filled", "Canceled", "Rejected", "Expired", "Completed"})
ADMIN_ACTIONS = frozenset(
    {
        "Normal",
        "LockTradingImmediately",
        "LiquidateImmediately",
        "LiquidateOnlyModeImmediately",
        "PlaceAutoLiqOnHold",
        "DisableAutoLiq",
        "AgreedOnLiqOnlyModeByAutoLiq",
        "AgreedOnLiquidationByAutoLiq",
    }
)
FAILURE_REASONS = frozenset(
    {
        "AccountClosed",
        "AdvancedTrailingStopUnsupported",
        "AnotherCommandPending",
        "BackMonthProhibited",
        "ExecutionProviderNotConfigured",
        "ExecutionProviderUnavailable",
        "InvalidContract",
        "InvalidPrice",
        "KeyInformationDocumentRequired",
        "LiquidationOnly",
        "LiquidationOnlyBeforeExpiration",
        "MaxOrderQtyIsNotSpecified",
        "MaxOrderQtyLimitReached",
        "MaxPosLimitMisconfigured",
        "MaxPosLimitReached",
        "MaxTotalPosLimitReached",
        "MultipleAccountPlanRequired",
        "NoQuote",
        "NotEnoughLiquidity",
        "OtherExecutionRelated",
        "ParentRejected",
        "RiskCheckTimeout",
        "SSFRiskDisclosureAcknowledgmentRequired",
        "SessionClosed",
        "Success",
        "TooLate",
        "TradingLocked",
        "TrailingStopNonOrderQtyModify",
        "Unauthorized",
        "UnknownReason",
        "Unsupported",
    }
)


def master_of(entity: str) -> str | None:
    """The entity that the dependants of ``deps`` are asked by, if there is one."""
    return MASTERS[entity][0] if entity in MASTERS else EMPTY.get(entity)
