"""searching for identities, and the sessions of one store"""

# ruff: noqa: I001 - Alembic writes its imports one by one

import sqlalchemy as sa
from alembic import op
from shopkeeper.identity.terms import terms_of
from shopkeeper.storage.tables import Id
from shopkeeper.storage.tables import Json

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_BATCH = 1_000


def upgrade() -> None:
    op.create_table(
        "identity_terms",
        sa.Column(
            "term",
            sa.String(length=400).with_variant(sa.String(length=400, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("identity_id", Id, nullable=False),
        sa.ForeignKeyConstraint(
            ["identity_id"],
            ["identities.id"],
            name=op.f("fk_identity_terms_identity_id_identities"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("term", "identity_id", name=op.f("pk_identity_terms")),
    )
    _fill()
    op.create_index(op.f("ix_identity_terms_identity_id"), "identity_terms", ["identity_id"], unique=False)
    op.create_index(op.f("ix_identities_state_id"), "identities", ["state", "id"], unique=False)
    op.create_index("ix_sessions_store_id", "sessions", ["store", "id"], unique=False)
    op.create_index("ix_sessions_store_identity_id", "sessions", ["store", "identity_id"], unique=False)
    op.create_index(
        "ix_sessions_not_revoked",
        "sessions",
        ["id"],
        unique=False,
        postgresql_where=sa.text("active"),
        sqlite_where=sa.text("active"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("credential_identifiers", "identifier", type_=sa.String(length=320, collation="C"))


def _fill() -> None:
    """Compute the terms as the server does: searches compare with its spelling."""
    connection, last = op.get_bind(), None
    identities = sa.table("identities", sa.column("id", Id), sa.column("traits", Json))
    terms = sa.table("identity_terms", sa.column("term", sa.String), sa.column("identity_id", Id))
    while True:
        query = sa.select(identities).order_by(identities.c.id).limit(_BATCH)
        rows = connection.execute(query if last is None else query.where(identities.c.id > last)).all()
        found = [{"term": term, "identity_id": row.id} for row in rows for term in sorted(terms_of(row.traits))]
        if found:
            connection.execute(sa.insert(terms), found)
        if len(rows) < _BATCH:
            return
        last = rows[-1].id
