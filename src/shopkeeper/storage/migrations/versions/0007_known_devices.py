"""known devices"""

# ruff: noqa: I001 - Alembic writes its imports one by one

import sqlalchemy as sa
from alembic import op
from shopkeeper.storage.tables import Id
from shopkeeper.storage.tables import Moment

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "known_devices",
        sa.Column("identity_id", Id, nullable=False),
        sa.Column("feature", sa.String(length=64), nullable=False),
        sa.Column("first_seen_at", Moment(), nullable=False),
        sa.Column("last_seen_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["identity_id"],
            ["identities.id"],
            name=op.f("fk_known_devices_identity_id_identities"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("identity_id", "feature", name=op.f("pk_known_devices")),
    )
    with op.batch_alter_table("known_devices", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_known_devices_last_seen_at"), ["last_seen_at"], unique=False)

    op.create_table(
        "device_notices",
        sa.Column("token_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("identity_id", Id, nullable=False),
        sa.Column("session_id", Id, nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("expires_at", Moment(), nullable=False),
        sa.Column("used_at", Moment(), nullable=True),
        sa.ForeignKeyConstraint(
            ["identity_id"],
            ["identities.id"],
            name=op.f("fk_device_notices_identity_id_identities"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("token_digest", name=op.f("pk_device_notices")),
    )
    with op.batch_alter_table("device_notices", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_device_notices_expires_at"), ["expires_at"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_device_notices_identity_id_created_at"), ["identity_id", "created_at"], unique=False
        )
