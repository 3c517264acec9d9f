"""${message}"""

# ruff: noqa: I001, PLR0915 - Alembic writes its imports one by one, and a statement for each table

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
