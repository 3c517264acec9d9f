"""sessions at identity providers, and the sessions that began with them"""

import sqlalchemy as sa
from alembic import op

from shopkeeper.storage.tables import Id, Moment

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "provider_sessions",
        sa.Column("session_id", Id, nullable=False),
        sa.Column("provider", sa.String(length=255), nullable=False),
        sa.Column("subject_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("sid_digest", sa.LargeBinary(length=32), nullable=True),
        sa.Column("id_token", sa.LargeBinary(), nullable=True),
        sa.Column("began_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.id"],
            name=op.f("fk_provider_sessions_session_id_sessions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("session_id", "provider", name=op.f("pk_provider_sessions")),
    )
    op.create_index("ix_provider_sessions_subject", "provider_sessions", ["provider", "subject_digest"])
    op.create_index("ix_provider_sessions_sid", "provider_sessions", ["provider", "sid_digest"])
