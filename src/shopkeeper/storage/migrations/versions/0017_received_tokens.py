"""logout tokens and ID tokens that were received"""

import sqlalchemy as sa
from alembic import op

from shopkeeper.storage.tables import Moment

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "received_tokens",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("expires_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_received_tokens")),
    )
    op.create_index(op.f("ix_received_tokens_expires_at"), "received_tokens", ["expires_at"])
    # The digests were of logout tokens, which are valid for ten minutes: nothing that counts is lost.
    op.drop_index(op.f("ix_logout_tokens_expires_at"), "logout_tokens")
    op.drop_table("logout_tokens")
