"""store the context of methods, the attempts and the callbacks of flows"""

# ruff: noqa: I001 - Alembic writes its imports one by one

import sqlalchemy as sa
from alembic import op
from shopkeeper.storage.tables import Id
from shopkeeper.storage.tables import Json

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("flows", schema=None) as batch_op:
        batch_op.alter_column("steps", new_column_name="context", existing_type=Json, existing_nullable=False)
        batch_op.add_column(sa.Column("version", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("attempts", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("identity_id", Id, nullable=True))
        batch_op.add_column(sa.Column("session_id", Id, nullable=True))
        batch_op.add_column(sa.Column("callback_method", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("callback_state", sa.LargeBinary(length=32), nullable=True))
        batch_op.add_column(sa.Column("callback_binding", sa.LargeBinary(length=32), nullable=True))
        batch_op.create_unique_constraint("uq_flows_callback_state", ["callback_state"])
