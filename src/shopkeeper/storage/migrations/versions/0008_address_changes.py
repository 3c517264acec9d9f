"""address changes"""

# ruff: noqa: I001 - Alembic writes its imports one by one

import sqlalchemy as sa
from alembic import op
from shopkeeper.storage.tables import Id
from shopkeeper.storage.tables import Json
from shopkeeper.storage.tables import Moment

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "address_changes",
        sa.Column("id", Id, nullable=False),
        sa.Column("identity_id", Id, nullable=False),
        sa.Column("via", sa.String(length=16), nullable=False),
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.Column("former_traits", Json, nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("password_digest", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("ended_at", Moment(), nullable=True),
        sa.ForeignKeyConstraint(
            ["identity_id"],
            ["identities.id"],
            name=op.f("fk_address_changes_identity_id_identities"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_address_changes")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_address_changes_token_hash")),
    )
    with op.batch_alter_table("address_changes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_address_changes_address"), ["address"], unique=False)
        batch_op.create_index(batch_op.f("ix_address_changes_created_at"), ["created_at"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_address_changes_identity_id_created_at"), ["identity_id", "created_at"], unique=False
        )
