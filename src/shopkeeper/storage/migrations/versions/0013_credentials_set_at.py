"""when the secret of a credential was set last"""

import sqlalchemy as sa
from alembic import op

from shopkeeper.storage.tables import Moment

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("credentials", sa.Column("set_at", Moment(), nullable=True))
