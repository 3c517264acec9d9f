"""orders that agents placed, each once"""

import sqlalchemy as sa
from alembic import op

from shopkeeper.storage.tables import Id

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "impersonation_orders",
        sa.Column("impersonation_id", Id, nullable=False),
        sa.Column("number", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(
            ["impersonation_id"],
            ["impersonations.id"],
            name=op.f("fk_impersonation_orders_impersonation_id_impersonations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("impersonation_id", "number", name=op.f("pk_impersonation_orders")),
    )
