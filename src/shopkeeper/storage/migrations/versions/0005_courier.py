"""the courier"""

# ruff: noqa: I001 - Alembic writes its imports one by one

import sqlalchemy as sa
from alembic import op
from shopkeeper.storage.tables import Id
from shopkeeper.storage.tables import Moment

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "courier_dispatches",
        sa.Column("id", Id, nullable=False),
        sa.Column("message_id", Id, nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_courier_dispatches")),
    )
    with op.batch_alter_table("courier_dispatches", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_courier_dispatches_message_id_id"), ["message_id", "id"], unique=False)

    op.create_table(
        "courier_suppressions",
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("created_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_courier_suppressions")),
    )
    with op.batch_alter_table("courier_suppressions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_courier_suppressions_created_at"), ["created_at"], unique=False)

    with op.batch_alter_table("courier_messages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("context", sa.Text(), nullable=True))
