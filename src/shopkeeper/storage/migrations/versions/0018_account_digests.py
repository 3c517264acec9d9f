"""the account at a provider that an identifier stands for belongs to one identity"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

TABLE, COLUMN = "credential_identifiers", "account_digest"


def upgrade() -> None:
    op.add_column(TABLE, sa.Column(COLUMN, sa.LargeBinary(length=32), nullable=True))
    op.create_index(f"ix_{TABLE}_{COLUMN}", TABLE, [COLUMN], unique=True)
