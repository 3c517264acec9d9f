"""logout tokens that were received"""

import sqlalchemy as sa
from alembic import op

from shopkeeper.storage.tables import Moment

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "logout_tokens",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("expires_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_logout_tokens")),
    )
    op.create_index(op.f("ix_logout_tokens_expires_at"), "logout_tokens", ["expires_at"])
