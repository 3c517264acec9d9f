"""The file of an SQLite database while it is in use: that it is still there, and that it can be written."""

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from sqlalchemy.engine import URL

from shopkeeper.storage.unavailable import StorageUnavailable, explained

LEAST_ROOM: Final = 1024 * 1024
"""Bytes that the disk must have left: with less, the next large transaction fails."""
PROBE_AGAIN_AFTER: Final = 1.0
"""Seconds that a successful probe counts: readiness is public, and must not let strangers write without end."""
_PATIENCE: Final = 0.2


class FileGone(ConnectionError):
    """The file of the database is not there any more."""


def plain_file(url: URL) -> Path | None:
    """Return the file of an SQLite database; None for other databases, in memory, or given as a URI with options."""
    name = url.database if url.get_backend_name() == "sqlite" else None
    return None if not name or name.startswith(("file:", ":memory:")) else Path(name)


class OpenFile:
    """Notices that the file of an open connection was removed or replaced, which SQLite does not in WAL mode.

    What is written to a removed file is lost with the connection, and what is read from it is out of date.
    """

    def __init__(self, url: URL) -> None:
        self._path = plain_file(url)
        self._opened: tuple[int, int] | None = None

    def require(self) -> None:
        """Raise `FileGone` where there is no file to open."""
        if self._path is not None:
            self._identity(self._path)

    def opened(self) -> None:
        """Note which file has just been opened."""
        self._opened = None if self._path is None else self._identity(self._path)

    def was_replaced(self) -> bool:
        """Whether another file has taken its place, so that it must be opened again. Raises `FileGone`."""
        return self._path is not None and self._identity(self._path) != self._opened

    @staticmethod
    def _identity(path: Path) -> tuple[int, int]:
        try:
            found = os.stat(path)  # noqa: PTH116 - before every statement: a third of the time of Path.stat
        except FileNotFoundError as gone:
            raise FileGone(f"{path} is gone") from gone
        return found.st_dev, found.st_ino


class WritableProbe:
    """Finds out whether an SQLite database can be written, for readiness."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._path = plain_file(url)
        self._one_at_a_time = asyncio.Lock()
        self._counts_until = 0.0

    async def require(self) -> None:
        """Raise `StorageUnavailable` with a sentence where the database cannot be written."""
        if self._path is None:
            return
        async with self._one_at_a_time:
            now = asyncio.get_running_loop().time()
            if now < self._counts_until:
                return
            with explained(self._url):
                await asyncio.to_thread(_write_nothing, self._path)
            self._counts_until = now + PROBE_AGAIN_AFTER


def _write_nothing(path: Path) -> None:
    """Commit a transaction that changes nothing, but is written."""
    if not path.exists():
        raise StorageUnavailable(f"The database file {path} is gone: put it back; the server goes on by itself.")
    disk = os.statvfs(path)
    if disk.f_bavail * disk.f_frsize < LEAST_ROOM:
        raise StorageUnavailable(f"The disk that holds {path} is full: make room; the server goes on by itself.")
    address = f"{path.resolve().as_uri()}?mode=rw"
    with closing(sqlite3.connect(address, uri=True, timeout=_PATIENCE, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as failed:
            if (
                failed.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            ):  # another connection is writing, so it is possible
                return
            raise
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version:d}")
        connection.execute("COMMIT")
