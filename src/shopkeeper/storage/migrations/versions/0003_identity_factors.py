"""factors of an identity: the credential types with a usable secret"""

# ruff: noqa: I001 - imports one by one, as Alembic writes them

import sqlalchemy as sa
from alembic import op
from shopkeeper.storage.tables import Json

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_FILL = {
    "sqlite": """
        UPDATE identities SET factors = (
            SELECT json_group_array(type) FROM (
                SELECT type FROM credentials
                WHERE credentials.identity_id = identities.id AND credentials.config <> '{}' ORDER BY type
            )
        )
    """,
    "postgresql": """
        UPDATE identities SET factors = found.types
        FROM (
            SELECT identity_id, jsonb_agg(type ORDER BY type) AS types
            FROM credentials WHERE config <> '{}'::jsonb GROUP BY identity_id
        ) AS found
        WHERE found.identity_id = identities.id
    """,
}


def upgrade() -> None:
    # With a server default SQLite adds the column in place. Rebuilding the table would delete the rows that refer to
    # it.
    op.add_column("identities", sa.Column("factors", Json, nullable=False, server_default=sa.text("'[]'")))
    # Every config that is not empty counts as usable: no method has stored an unusable one yet. The next write of an
    # identity's credentials computes its factors from the facts of the methods.
    op.execute(sa.text(_FILL[op.get_bind().dialect.name]))
