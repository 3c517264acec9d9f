"""the devices of a session are kept with it, and whether a mail told of a new one is kept with that"""

import sqlalchemy as sa
from alembic import op

from shopkeeper.storage.tables import Json, Moment

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_KEPT = {
    "postgresql": """
        UPDATE sessions SET devices = known.devices FROM (
            SELECT session_id, jsonb_agg(jsonb_build_object(
                'id', id, 'ip_address', ip_address, 'user_agent', user_agent, 'location', location
            ) ORDER BY id) AS devices
            FROM session_devices GROUP BY session_id
        ) AS known WHERE known.session_id = sessions.id
    """,
    "sqlite": """
        UPDATE sessions SET devices = (
            SELECT json_group_array(json_object(
                'id', id, 'ip_address', ip_address, 'user_agent', user_agent, 'location', location
            ))
            FROM (SELECT * FROM session_devices WHERE session_id = sessions.id ORDER BY id)
        )
    """,
}
_TOLD = """
    UPDATE known_devices SET told_at = first_seen_at WHERE EXISTS (
        SELECT 1 FROM device_notices
        WHERE device_notices.identity_id = known_devices.identity_id
        AND device_notices.created_at = known_devices.first_seen_at
    )
"""


def upgrade() -> None:
    op.add_column("sessions", sa.Column("devices", Json, server_default=sa.text("'[]'"), nullable=False))
    op.execute(_KEPT[op.get_bind().dialect.name])
    op.drop_table("session_devices")
    op.add_column("known_devices", sa.Column("told_at", Moment(), nullable=True))
    op.execute(_TOLD)
    op.drop_table("device_notices")
