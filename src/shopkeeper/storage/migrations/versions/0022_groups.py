"""groups of identities, and a version of each identity"""

import sqlalchemy as sa
from alembic import op

from shopkeeper.storage.tables import Id, Moment

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

GROUPS, MEMBERS = "identity_groups", "group_members"


def upgrade() -> None:
    op.add_column("identities", sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.create_table(
        GROUPS,
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("display_name", sa.String(length=256), nullable=False),
        sa.Column("external_id", sa.String(length=255), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("updated_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{GROUPS}")),
        sa.UniqueConstraint("name", name=op.f(f"uq_{GROUPS}_name")),
        sa.UniqueConstraint("external_id", name=op.f(f"uq_{GROUPS}_external_id")),
    )
    op.create_table(
        MEMBERS,
        sa.Column("identity_id", Id, nullable=False),
        sa.Column("group_id", Id, nullable=False),
        sa.Column("source", sa.String(length=80), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["identity_id"],
            ["identities.id"],
            name=op.f(f"fk_{MEMBERS}_identity_id_identities"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["group_id"], [f"{GROUPS}.id"], name=op.f(f"fk_{MEMBERS}_group_id_{GROUPS}"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("identity_id", "group_id", "source", name=op.f(f"pk_{MEMBERS}")),
    )
    op.create_index(f"ix_{MEMBERS}_group_id_identity_id", MEMBERS, ["group_id", "identity_id"])
