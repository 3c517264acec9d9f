"""sessions that end when they are not used, and those that are kept signed in"""

import sqlalchemy as sa
from alembic import op

from shopkeeper.storage.tables import Moment

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", sa.Column("idle_ends_at", Moment(), nullable=True))
    op.add_column("sessions", sa.Column("kept", sa.Boolean(), nullable=True))
