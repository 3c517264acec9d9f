"""cart merges"""

# ruff: noqa: I001 - Alembic writes its imports one by one

import sqlalchemy as sa
from alembic import op
from shopkeeper.storage.tables import Id
from shopkeeper.storage.tables import Json
from shopkeeper.storage.tables import Moment

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "cart_merges",
        sa.Column("id", Id, nullable=False),
        sa.Column("store", sa.String(length=128), nullable=False),
        sa.Column("guest", sa.String(length=128), nullable=False),
        sa.Column("customer", sa.String(length=128), nullable=False),
        sa.Column("cart_id", sa.String(length=128), nullable=True),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("report", Json, nullable=True),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("updated_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cart_merges")),
        sa.UniqueConstraint("store", "guest", name=op.f("uq_cart_merges_store_guest")),
    )
    with op.batch_alter_table("cart_merges", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_cart_merges_customer"), ["customer"], unique=False)
        batch_op.create_index(batch_op.f("ix_cart_merges_updated_at"), ["updated_at"], unique=False)
