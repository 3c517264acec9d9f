"""registrations that were only simulated"""

import sqlalchemy as sa
from alembic import op

from shopkeeper.storage.tables import Id, Moment

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "simulated_registrations",
        sa.Column("id", Id, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("address", sa.String(length=1024), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_simulated_registrations")),
        sa.UniqueConstraint("digest", name=op.f("uq_simulated_registrations_digest")),
    )
    with op.batch_alter_table("simulated_registrations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_simulated_registrations_created_at"), ["created_at"], unique=False)
