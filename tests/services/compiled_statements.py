"""Compiled SQL statements, shared by all databases that a process of the tests opens.

SQLAlchemy keeps them for each engine. A server opens its engines once, but nearly every test opens some, and would
spend a third of its time on compiling the same statements again.
"""

from collections.abc import Hashable
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

Key = tuple[Any, ...]


class SharedStatements(dict[Hashable, Any]):
    """A cache whose keys name the kind of the dialect where SQLAlchemy's name the dialect of one engine."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_shared(key), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        super().__setitem__(_shared(key), compiled)


def _shared(key: Key) -> Key:
    return (type(key[0]), *key[1:])


def share_compiled_statements() -> None:
    """Let every engine of this process use one cache from now on."""
    shared = SharedStatements()

    def use(connection: Connection) -> None:
        connection.execution_options(compiled_cache=shared)

    event.listen(Engine, "engine_connect", use)
