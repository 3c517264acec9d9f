"""Keeps calls to other servers out of open transactions: a slow server would hold locks that other requests wait for.

The database marks when a transaction is open; the clients of other servers check that before a call. Neither imports
the other.
"""

from contextvars import Context, ContextVar, copy_context
from typing import Final


class CalledInsideTransaction(RuntimeError):
    """Raised when another server is about to be called while a transaction is open: a programming error."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} was called while a transaction was open. Call it before the transaction begins, "
            "after the commit, or through the outbox."
        )


class TransactionScope:
    """The duration of one unit of work, in which a transaction may be open.

    A context variable holds this mutable object rather than a flag: the transaction may end in another task, which has
    a context of its own, and tasks that were started meanwhile must see that, too.
    """

    __slots__ = ("_outer", "is_open")

    def __init__(self) -> None:
        self.is_open = False
        """Whether a transaction is open. The owner of the scope sets it, in any task."""
        self._outer: TransactionScope | None = None

    def enter(self) -> None:
        """Enter the scope in this task and in the tasks that it starts before `leave`."""
        self._outer = _innermost.get()
        _innermost.set(self)

    def leave(self) -> None:
        """Leave the scope in this task. Tasks started in it keep it, and see that no transaction is open any more."""
        # A generator may be closed in another context than the one it was started in; then there is nothing to reset.
        if _innermost.get() is self:
            _innermost.set(self._outer)

    @property
    def any_is_open(self) -> bool:
        """Whether a transaction is open in this scope or in one around it."""
        scope: TransactionScope | None = self
        while scope is not None:
            if scope.is_open:
                return True
            scope = scope._outer
        return False


_innermost: Final[ContextVar[TransactionScope | None]] = ContextVar("transaction_scope", default=None)


def refuse_inside_transaction(what: str) -> None:
    """Check, before a call to another server, that no transaction of this task is open.

    Tasks started inside a unit of work (`gather`, `TaskGroup`, `wait_for`) count as part of it until its transaction
    ends; a task started in `outside_transactions()` does not.

    Args:
        what: what is about to be called, as the subject of a sentence: "The mail server".

    Raises:
        CalledInsideTransaction: a transaction is open.

    >>> refuse_inside_transaction("The mail server")
    """
    scope = _innermost.get()
    if scope is not None and scope.any_is_open:
        raise CalledInsideTransaction(what)


def outside_transactions() -> Context:
    """Copy the current context without its scopes, for a task that outlives the unit of work which starts it.

    >>> asyncio.create_task(work(), context=outside_transactions())  # doctest: +SKIP
    """
    context = copy_context()
    context.run(_innermost.set, None)
    return context
