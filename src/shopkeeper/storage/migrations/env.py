"""What Alembic runs for each command: it gets its connection from `storage/migrate.py`, open and in a transaction."""

from typing import Any, Final, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import JSON, Uuid

from shopkeeper.storage.tables import Moment

_NAMES: Final = ((Moment, "Moment()"), (JSON, "Json"), (Uuid, "Id"))


def render(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:
    """Writes our column types as the rooms write them."""
    name = next((name for type_, name in _NAMES if isinstance(item, type_)), None)
    if kind != "type" or name is None:
        return False
    autogen.imports.add(f"from shopkeeper.storage.tables import {name.removesuffix('()')}")
    return name


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes["metadata"],
    render_as_batch=True,  # SQLite alters a table by making it anew
    render_item=render,
)
with context.begin_transaction():
    context.run_migrations()
