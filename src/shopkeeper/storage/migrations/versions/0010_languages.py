"""the language of identities, sessions and orders"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("identities", "sessions", "orders"):
        op.add_column(table, sa.Column("locale", sa.String(length=16), nullable=True))
