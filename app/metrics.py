"""What operators can read at ``/metrics``."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ALERTS = Counter("just_trades_alerts", "Alerts by what became of them", ["status"])
INTAKE_SECONDS = Histogram(
    "just_trades_intake_seconds",
    "From the request to the durable answer",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3),
)
EXECUTIONS = Counter("just_trades_executions", "Executions by how they ended", ["status"])
ORDERS = Counter("just_trades_orders", "Orders sent, by broker and outcome", ["broker", "outcome"])
ALERT_TO_ORDER_SECONDS = Histogram(
    "just_trades_alert_to_order_seconds",
    "From the alert's arrival to the order's first byte to the broker",
    buckets=(0.002, 0.004, 0.006, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 60),
)
FILLS = Counter("just_trades_fills", "Fills applied, by source", ["source"])
BROKER_REQUESTS = Counter(
    "just_trades_broker_requests",
    "Requests to brokers, by what they were for and their outcome",
    ["broker", "purpose", "outcome"],
)
LANES = Gauge("just_trades_lanes", "Accounts with work under way")
