"""the codes by which apps exchange a provider's sign-in for a session token"""

import sqlalchemy as sa
from alembic import op

from shopkeeper.storage.tables import Id

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("flows", sa.Column("exchange_init", sa.LargeBinary(length=32), nullable=True))
    op.add_column("flows", sa.Column("exchange_return", sa.LargeBinary(length=32), nullable=True))
    op.add_column("flows", sa.Column("exchange_session", Id, nullable=True))
    # Few flows have codes: the others stay out of the index.
    op.create_index(
        "ix_flows_exchange_init",
        "flows",
        ["exchange_init"],
        postgresql_where=sa.text("exchange_init IS NOT NULL"),
        sqlite_where=sa.text("exchange_init IS NOT NULL"),
    )
