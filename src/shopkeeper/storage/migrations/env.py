"""Runs an Alembic command on the connection of `storage/migrate.py`, which is open and in a transaction."""

from typing import Any, Final, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import JSON, Uuid

from shopkeeper.storage.tables import Moment

_NAMES: Final = ((Moment, "Moment()"), (JSON, "Json"), (Uuid, "Id"))


def render(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:
    """Render a column type of `storage/tables.py` by its name there."""
    name = next((name for type_, name in _NAMES if isinstance(item, type_)), None)
    if kind != "type" or name is None:
        return False
    autogen.imports.add(f"from shopkeeper.storage.tables import {name.removesuffix('()')}")
    return name


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes["metadata"],
    render_as_batch=True,  # SQLite alters a table by rebuilding it
    render_item=render,
)
with context.begin_transaction():
    context.run_migrations()
