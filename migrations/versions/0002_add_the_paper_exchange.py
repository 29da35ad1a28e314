"""Add the paper exchange

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
        "paper_accounts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("currency", sa.String(length=8), nullable=False),
        sa.Column("cash", types.Money(precision=28, scale=8), nullable=False),
        sa.Column("reserved", types.Money(precision=28, scale=8), nullable=False),
        sa.Column(
            "next_number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "told_number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("respect_size", sa.Boolean(), nullable=False),
        sa.Column("created_at", types.UTCDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", types.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_paper_accounts_account_id_accounts")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_paper_accounts_user_id_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paper_accounts")),
        sa.UniqueConstraint("account_id", name=op.f("uq_paper_accounts_account_id")),
    )
    with op.batch_alter_table("paper_accounts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_paper_accounts_user_id"), ["user_id"], unique=False)

    op.create_table(
        "paper_fills",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("client_order_id", sa.String(length=40), nullable=False),
        sa.Column(
            "order_number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("contract", sa.String(length=40), nullable=False),
        sa.Column("side", sa.String(length=4), nullable=False),
        sa.Column("quantity", types.Exact(), nullable=False),
        sa.Column("price", types.Exact(), nullable=False),
        sa.Column("fee", types.Money(precision=28, scale=8), nullable=False),
        sa.Column("realized", types.Money(precision=28, scale=8), nullable=False),
        sa.Column("liquidity", sa.String(length=8), nullable=False),
        sa.Column("at", types.UTCDateTime(timezone=True), nullable=False),
        sa.Column("created_at", types.UTCDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", types.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_paper_fills_account_id_accounts")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_paper_fills_user_id_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paper_fills")),
    )
    with op.batch_alter_table("paper_fills", schema=None) as batch_op:
        batch_op.create_index("ix_paper_fills_account_id_at", ["account_id", "at"], unique=False)
        batch_op.create_index(
            "ix_paper_fills_account_id_contract_number",
            ["account_id", "contract", "number"],
            unique=False,
        )
        batch_op.create_index(
            "uq_paper_fills_account_id_number", ["account_id", "number"], unique=True
        )

    op.create_table(
        "paper_ledger",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("available_change", types.Money(precision=28, scale=8), nullable=False),
        sa.Column("reserved_change", types.Money(precision=28, scale=8), nullable=False),
        sa.Column("available", types.Money(precision=28, scale=8), nullable=False),
        sa.Column("reserved", types.Money(precision=28, scale=8), nullable=False),
        sa.Column("client_order_id", sa.String(length=40), nullable=True),
        sa.Column(
            "fill_number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("at", types.UTCDateTime(timezone=True), nullable=False),
        sa.Column("created_at", types.UTCDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", types.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_paper_ledger_account_id_accounts")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_paper_ledger_user_id_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paper_ledger")),
    )
    with op.batch_alter_table("paper_ledger", schema=None) as batch_op:
        batch_op.create_index(
            "uq_paper_ledger_account_id_number", ["account_id", "number"], unique=True
        )

    op.create_table(
        "paper_orders",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("client_order_id", sa.String(length=40), nullable=False),
        sa.Column("contract", sa.String(length=40), nullable=False),
        sa.Column("side", sa.String(length=4), nullable=False),
        sa.Column("quantity", types.Exact(), nullable=False),
        sa.Column("order_type", sa.String(length=14), nullable=False),
        sa.Column("tif", sa.String(length=4), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("priority", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("active_at", types.UTCDateTime(timezone=True), nullable=False),
        sa.Column("limit_price", types.Exact(), nullable=True),
        sa.Column("stop_price", types.Exact(), nullable=True),
        sa.Column("offset", types.Exact(), nullable=True),
        sa.Column("expire_at", types.UTCDateTime(timezone=True), nullable=True),
        sa.Column("reduce_only", sa.Boolean(), nullable=False),
        sa.Column("post_only", sa.Boolean(), nullable=False),
        sa.Column("origin", sa.String(length=10), nullable=False),
        sa.Column("role", sa.String(length=12), nullable=True),
        sa.Column("parent", sa.String(length=40), nullable=True),
        sa.Column("group", sa.String(length=40), nullable=True),
        sa.Column("has_legs", sa.Boolean(), nullable=False),
        sa.Column("triggered", sa.Boolean(), nullable=False),
        sa.Column("filled", types.Exact(), nullable=False),
        sa.Column("value", types.Exact(), nullable=False),
        sa.Column("held_back", types.Exact(), nullable=False),
        sa.Column("hold", types.Money(precision=28, scale=8), nullable=False),
        sa.Column("fee_exact", types.Exact(), nullable=False),
        sa.Column("fee", types.Money(precision=28, scale=8), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=True),
        sa.Column(
            "changed_number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("created_at", types.UTCDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", types.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_paper_orders_account_id_accounts")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_paper_orders_user_id_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paper_orders")),
    )
    with op.batch_alter_table("paper_orders", schema=None) as batch_op:
        batch_op.create_index(
            "ix_paper_orders_account_id_changed_number",
            ["account_id", "changed_number"],
            unique=False,
        )
        batch_op.create_index(
            "ix_paper_orders_open",
            ["account_id"],
            unique=False,
            sqlite_where=sa.text(
                "status IN ('inactive', 'working', 'triggered', 'partially_filled')"
            ),
            postgresql_where=sa.text(
                "status IN ('inactive', 'working', 'triggered', 'partially_filled')"
            ),
        )
        batch_op.create_index(
            "uq_paper_orders_account_id_client_order_id",
            ["account_id", "client_order_id"],
            unique=True,
        )
        batch_op.create_index(
            "uq_paper_orders_account_id_number", ["account_id", "number"], unique=True
        )

    op.create_table(
        "paper_positions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("contract", sa.String(length=40), nullable=False),
        sa.Column("net_pos", types.Exact(), nullable=False),
        sa.Column("avg_price", types.Exact(), nullable=True),
        sa.Column("margin", types.Money(precision=28, scale=8), nullable=False),
        sa.Column("realized", types.Exact(), nullable=False),
        sa.Column("booked", types.Money(precision=28, scale=8), nullable=False),
        sa.Column("quote_at", types.UTCDateTime(timezone=True), nullable=True),
        sa.Column("taken_bid", types.Exact(), nullable=False),
        sa.Column("taken_ask", types.Exact(), nullable=False),
        sa.Column("created_at", types.UTCDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", types.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_paper_positions_account_id_accounts")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_paper_positions_user_id_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paper_positions")),
    )
    with op.batch_alter_table("paper_positions", schema=None) as batch_op:
        batch_op.create_index(
            "uq_paper_positions_account_id_contract", ["account_id", "contract"], unique=True
        )


def downgrade() -> None:
    with op.batch_alter_table("paper_positions", schema=None) as batch_op:
        batch_op.drop_index("uq_paper_positions_account_id_contract")

    op.drop_table("paper_positions")
    with op.batch_alter_table("paper_orders", schema=None) as batch_op:
        batch_op.drop_index("uq_paper_orders_account_id_number")
        batch_op.drop_index("uq_paper_orders_account_id_client_order_id")
        batch_op.drop_index(
            "ix_paper_orders_open",
            sqlite_where=sa.text(
                "status IN ('inactive', 'working', 'triggered', 'partially_filled')"
            ),
            postgresql_where=sa.text(
                "status IN ('inactive', 'working', 'triggered', 'partially_filled')"
            ),
        )
        batch_op.drop_index("ix_paper_orders_account_id_changed_number")

    op.drop_table("paper_orders")
    with op.batch_alter_table("paper_ledger", schema=None) as batch_op:
        batch_op.drop_index("uq_paper_ledger_account_id_number")

    op.drop_table("paper_ledger")
    with op.batch_alter_table("paper_fills", schema=None) as batch_op:
        batch_op.drop_index("uq_paper_fills_account_id_number")
        batch_op.drop_index("ix_paper_fills_account_id_contract_number")
        batch_op.drop_index("ix_paper_fills_account_id_at")

    op.drop_table("paper_fills")
    with op.batch_alter_table("paper_accounts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_paper_accounts_user_id"))

    op.drop_table("paper_accounts")
