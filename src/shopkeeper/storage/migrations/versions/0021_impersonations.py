"""agents who act as customers and guests"""

import sqlalchemy as sa
from alembic import op

from shopkeeper.storage.tables import Id, Json, Moment

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", sa.Column("actor", Json, nullable=True))
    op.add_column("orders", sa.Column("placed_by", sa.String(length=128), nullable=True))
    op.create_table(
        "impersonations",
        sa.Column("id", Id, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("store", sa.String(length=128), nullable=False),
        sa.Column("identity_id", Id, nullable=True),
        sa.Column("guest_id", Id, nullable=True),
        sa.Column("actor_identity_id", Id, nullable=True),
        sa.Column("actor_session_id", Id, nullable=True),
        sa.Column("actor_name", sa.String(length=128), nullable=True),
        sa.Column("actor_key", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("started_at", Moment(), nullable=False),
        sa.Column("expires_at", Moment(), nullable=False),
        sa.Column("ended_at", Moment(), nullable=True),
        sa.Column("ended_by", sa.String(length=200), nullable=True),
        sa.Column("link_used_at", Moment(), nullable=True),
        sa.Column("orders", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["identity_id"],
            ["identities.id"],
            name=op.f("fk_impersonations_identity_id_identities"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_impersonations")),
    )
    op.create_index("ix_impersonations_identity_id_id", "impersonations", ["identity_id", "id"])
    op.create_index("ix_impersonations_actor_session_id", "impersonations", ["actor_session_id"])
    op.create_index("ix_impersonations_actor_identity_id_id", "impersonations", ["actor_identity_id", "id"])
    op.create_index("ix_impersonations_started_at", "impersonations", ["started_at"])
