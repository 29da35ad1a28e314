"""Add log-ins of brokers

Revision: 0002
Follows: 0001
"""

import sqlalchemy as sa
from alembic import op

from app.models import types

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "broker_logins",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("broker", sa.String(length=40), nullable=False),
        sa.Column("environment", sa.String(length=4), nullable=False),
        sa.Column("identity_hash", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("credentials_cipher", sa.Text(), nullable=False),
        sa.Column("token_cipher", sa.Text(), nullable=True),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("is_wanted", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("state_reason", sa.String(length=500), nullable=True),
        sa.Column("state_since", types.UTCDateTime(timezone=True), nullable=True),
        sa.Column("blocked_until", types.UTCDateTime(timezone=True), nullable=True),
        sa.Column("reconnects", sa.Integer(), nullable=False),
        sa.Column("gaps_repaired", sa.Integer(), nullable=False),
        sa.Column("polled_at", types.UTCDateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", types.UTCDateTime(timezone=True), nullable=True),
        sa.Column("created_at", types.UTCDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", types.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_broker_logins_user_id_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_broker_logins")),
    )
    op.create_index("ix_broker_logins_user_id", "broker_logins", ["user_id"], unique=False)
    op.create_index(
        "uq_broker_logins_identity",
        "broker_logins",
        ["user_id", "broker", "environment", "identity_hash"],
        unique=True,
        sqlite_where=sa.text("deleted_at IS NULL"),
        postgresql_where=sa.text("deleted_at IS NULL"),
    )

    op.create_table(
        "external_orders",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("broker_order_id", sa.String(length=80), nullable=False),
        sa.Column("contract", sa.String(length=40), nullable=False),
        sa.Column("side", sa.String(length=4), nullable=False),
        sa.Column("order_type", sa.String(length=14), nullable=False),
        sa.Column("quantity", types.Exact(), nullable=False),
        sa.Column("filled_quantity", types.Exact(), nullable=False),
        sa.Column("limit_price", types.Exact(), nullable=True),
        sa.Column("stop_price", types.Exact(), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=True),
        sa.Column("reported_at", types.UTCDateTime(timezone=True), nullable=False),
        sa.Column("created_at", types.UTCDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", types.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_external_orders_account_id_accounts")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_external_orders_user_id_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_external_orders")),
    )
    op.create_index("ix_external_orders_user_id", "external_orders", ["user_id"], unique=False)
    op.create_index(
        "uq_external_orders_account_id_broker_order_id",
        "external_orders",
        ["account_id", "broker_order_id"],
        unique=True,
    )

    op.create_table(
        "live_balances",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("currency", sa.String(length=8), nullable=False),
        sa.Column("cash", types.Money(precision=28, scale=8), nullable=False),
        sa.Column("reserved", types.Money(precision=28, scale=8), nullable=False),
        sa.Column("equity", types.Money(precision=28, scale=8), nullable=False),
        sa.Column("realized_today", types.Money(precision=28, scale=8), nullable=True),
        sa.Column("as_of", types.UTCDateTime(timezone=True), nullable=False),
        sa.Column("created_at", types.UTCDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", types.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_live_balances_account_id_accounts")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_live_balances_user_id_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_live_balances")),
    )
    op.create_index("ix_live_balances_user_id", "live_balances", ["user_id"], unique=False)
    op.create_index(
        "uq_live_balances_account_id_currency",
        "live_balances",
        ["account_id", "currency"],
        unique=True,
    )

    op.create_table(
        "live_positions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("contract", sa.String(length=40), nullable=False),
        sa.Column("net_pos", types.Exact(), nullable=False),
        sa.Column("avg_price", types.Exact(), nullable=True),
        sa.Column("as_of", types.UTCDateTime(timezone=True), nullable=False),
        sa.Column("created_at", types.UTCDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", types.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_live_positions_account_id_accounts")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_live_positions_user_id_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_live_positions")),
    )
    op.create_index("ix_live_positions_user_id", "live_positions", ["user_id"], unique=False)
    op.create_index(
        "uq_live_positions_account_id_contract",
        "live_positions",
        ["account_id", "contract"],
        unique=True,
    )

    _add_reference("accounts", "login_id", "broker_logins")
    op.create_index("ix_accounts_login_id", "accounts", ["login_id"])
    op.add_column("accounts", sa.Column("sync_note", sa.String(length=500), nullable=True))
    _add_reference("fills", "strategy_id", "strategies")
    op.execute(
        "UPDATE fills SET strategy_id ="
        " (SELECT strategy_id FROM traders WHERE traders.id = fills.trader_id)"
    )
    op.create_index(
        "ix_orders_account_id_broker_order_id", "orders", ["account_id", "broker_order_id"]
    )
    op.drop_index("uq_books_account_id_contract_manual", "books")
    _create_index_of_books("manual", [], "trader_id IS NULL AND strategy_id IS NULL")
    _create_index_of_books(
        "recorder", ["strategy_id"], "trader_id IS NULL AND strategy_id IS NOT NULL"
    )


def downgrade() -> None:
    op.drop_index("uq_books_account_id_contract_recorder", "books")
    op.drop_index("uq_books_account_id_contract_manual", "books")
    _create_index_of_books("manual", [], "trader_id IS NULL")
    op.drop_index("ix_orders_account_id_broker_order_id", "orders")
    op.drop_column("fills", "strategy_id")
    op.drop_column("accounts", "sync_note")
    op.drop_index("ix_accounts_login_id", "accounts")
    op.drop_column("accounts", "login_id")
    op.drop_table("live_positions")
    op.drop_table("live_balances")
    op.drop_table("external_orders")
    op.drop_table("broker_logins")


def _add_reference(table: str, name: str, to: str) -> None:
    """A nullable column with its foreign key, in one statement: SQLite knows no other way that
    leaves the table in place."""
    reference = sa.ForeignKey(f"{to}.id", name=f"fk_{table}_{name}_{to}")
    column = sa.Column(
        name, sa.BigInteger().with_variant(sa.Integer(), "sqlite"), reference, nullable=True
    )
    op.add_column(table, column, inline_references=True)


def _create_index_of_books(kind: str, more: list[str], where: str) -> None:
    op.create_index(
        f"uq_books_account_id_contract_{kind}",
        "books",
        ["account_id", "contract", *more],
        unique=True,
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )
