"""Calls Alembic, without a configuration file. Imported only when there is something to migrate: importing it takes as
long as the rest of the start."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from shopkeeper.storage.tables import metadata


def upgrade(connection: Connection, scripts: Path) -> None:
    """Apply every pending revision."""
    command.upgrade(_config(scripts, connection), "head")


def write(connection: Connection, scripts: Path, message: str, *, number: str) -> None:
    """Compare the defined tables with the database, and write the revision that migrates the database to them."""
    command.revision(_config(scripts, connection), message, autogenerate=True, rev_id=number)


def _config(scripts: Path, connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    config.attributes["metadata"] = metadata
    return config
