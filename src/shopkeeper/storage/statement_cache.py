"""What is kept for each statement object that is executed again and again, such as a module's constant."""

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar
from weakref import WeakSet

from sqlalchemy.util import LRUCache

MOST_STATEMENTS: Final = 1_000
Kept = TypeVar("Kept")


class StatementCache(Generic[Kept]):
    """Keeps a value for a statement from its second execution on. Those used least recently are dropped.

    A statement that is built for one call is executed once, and leaves nothing here. What is kept often refers to its
    statement, so that weak references would free neither.
    """

    def __init__(self, most: int = MOST_STATEMENTS) -> None:
        self._seen: WeakSet[Any] = WeakSet()
        self._kept: LRUCache[Any, Kept] = LRUCache(most)

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, statement: object) -> Kept | None:
        """Return what is kept, or None."""
        found: Kept | None = self._kept.get(statement)
        return found

    def on_second_use(self, statement: object, make: Callable[[], Kept]) -> Kept | None:
        """Make what is to be kept, and keep it, unless this is the statement's first execution."""
        if statement not in self._seen:
            self._seen.add(statement)
            return None
        made = self._kept[statement] = make()
        return made
