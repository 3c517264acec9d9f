"""The tables of groups and of their members."""

from sqlalchemy import Column, ForeignKey, Index, Integer, String, Table

from shopkeeper.identity.group_names import LONGEST_GROUP_NAME, LONGEST_GROUP_TEXT
from shopkeeper.storage.tables import Id, Moment, metadata

LONGEST_SOURCE = 80
"""`provider:` and the id of a provider, which has 64 characters at most."""

identity_groups = Table(
    "identity_groups",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(LONGEST_GROUP_NAME), nullable=False, unique=True),
    Column("display_name", String(LONGEST_GROUP_TEXT), nullable=False),
    Column("external_id", String(255), unique=True),
    Column("version", Integer, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
)

group_members = Table(
    "group_members",
    metadata,
    Column("identity_id", Id, ForeignKey("identities.id", ondelete="CASCADE"), primary_key=True),
    Column("group_id", Id, ForeignKey("identity_groups.id", ondelete="CASCADE"), primary_key=True),
    # Who gave it: `admin`, or `provider:` and the provider's id.
    Column("source", String(LONGEST_SOURCE), primary_key=True),
    Column("created_at", Moment, nullable=False),
    # Lists the members of a group in order, and is walked by searches (`search.py`).
    Index(None, "group_id", "identity_id"),
)

MEMBERSHIP_COLUMNS = {
    "identity_id": group_members.c.identity_id,
    "group_id": group_members.c.group_id,
    "group_name": identity_groups.c.name,
    "source": group_members.c.source,
    "created_at": group_members.c.created_at,
}
"""The columns that `rows.to_memberships` reads."""
NAMED_MEMBERS = group_members.join(identity_groups, identity_groups.c.id == group_members.c.group_id)
