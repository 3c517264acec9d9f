"""Alembic, driven from here, with no file to configure it. Imported only where there is something to migrate: it is as
large as the rest of a start."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from shopkeeper.storage.tables import metadata


def upgrade(connection: Connection, scripts: Path) -> None:
    """Applies every revision that is missing."""
    command.upgrade(_config(scripts, connection), "head")


def write(connection: Connection, scripts: Path, message: str, *, number: str) -> None:
    """Compares the tables of the rooms with those of the database, and writes the revision that leads to the former."""
    command.revision(_config(scripts, connection), message, autogenerate=True, rev_id=number)


def _config(scripts: Path, connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    config.attributes["metadata"] = metadata
    return config
