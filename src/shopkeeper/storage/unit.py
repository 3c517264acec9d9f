"""The unit of work: what one phase of a request reads and writes, with at most one transaction.

Its private methods end it; they are for the `Database` that opened it (`database.py`).
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import structlog
from sqlalchemy import CursorResult, Executable, Row

from shopkeeper.storage.connections import Parameters, Reads, Transacting, Writes
from shopkeeper.storage.unavailable import DATABASE_ERRORS, DatabaseUnavailable, is_unavailable
from shopkeeper.transaction_guard import TransactionScope

log = structlog.get_logger("shopkeeper.database")

AfterCommit = Callable[[], Awaitable[None]]
Item = TypeVar("Item")
WriteCollected = Callable[["Unit", Sequence[Item]], Awaitable[None]]
"""Writes, as the last thing before the commit, what was collected for it in a unit."""


class Unit:
    """One unit of work. Rooms read and write through it; only the door that opened it ends it.

    A statement that is asked often is built once, with named places for what differs, and gets its `parameters` beside:
    building one, or filling its places beforehand, takes longer than SQLite takes to answer it.
    """

    def __init__(self, dialect: str, reads: Reads, writes: Writes, *, reads_only: bool = False) -> None:
        self.dialect = dialect
        """`sqlite` or `postgresql`."""
        self._reads, self._writes, self._reads_only = reads, writes, reads_only
        self._scope = TransactionScope()
        self._open: Transacting | None = None
        self._after_commit: list[AfterCommit] = []
        self._always: list[tuple[Executable, Parameters]] = []
        self._collected: dict[WriteCollected[Any], list[Any]] = {}

    async def all(self, query: Executable, parameters: Parameters = None) -> Sequence[Row[Any]]:
        """Every row of a query."""
        return (await self._read(query, parameters)).all()

    async def first(self, query: Executable, parameters: Parameters = None) -> Row[Any] | None:
        """The first row of a query, or none."""
        return (await self._read(query, parameters)).first()

    async def scalar(self, query: Executable, parameters: Parameters = None) -> Any:
        """The first column of the first row, or none."""
        return (await self._read(query, parameters)).scalar()

    async def write(self, statement: Executable, parameters: Parameters = None) -> CursorResult[Any]:
        """Executes a statement inside the transaction, which it opens if need be; once for each of many rows.

        Raises SQLAlchemy's `IntegrityError` where a constraint breaks; `broken_constraint` tells which. Raises
        `RuntimeError` in a unit that only reads.
        """
        await self.begin()
        assert self._open is not None  # noqa: S101 - `begin` has just opened it; this tells the type checker
        try:
            return await self._open.execute(statement, parameters)
        except DATABASE_ERRORS as failed:
            _refuse_if_unavailable(failed)
            raise

    async def begin(self) -> None:
        """Opens the transaction now: what is read from here on stays true until the end, given row locks.

        Raises `RuntimeError` in a unit that only reads.
        """
        if self._open is None:
            self._require_writable()
            try:
                self._open = await self._begun()
            except DATABASE_ERRORS as failed:
                _refuse_if_unavailable(failed)
                raise
            self._scope.is_open = True

    def _require_writable(self) -> None:
        if self._reads_only:
            raise RuntimeError("This unit of work only reads. Open another one with Database.unit() to write.")

    async def _begun(self) -> Transacting:
        connection = await self._writes.take()
        try:
            await connection.begin()
        except BaseException:
            await self._writes.give_back(connection)
            raise
        return connection

    def after_commit(self, action: AfterCommit) -> None:
        """Does something once the change is safe: publish an invalidation, wake the outbox. Not done on rollback."""
        self._after_commit.append(action)

    def always(self, statement: Executable, parameters: Parameters = None) -> None:
        """Writes at the end whether the unit commits or rolls back: the audit of a refused attempt.

        A unit that only reads writes it too, in a transaction of its own at the end.
        """
        self._always.append((statement, parameters))

    def collect(self, item: Item, *, write: WriteCollected[Item]) -> None:
        """Keeps an item to be written right before the commit; it is dropped if the unit rolls back.

        `write` is awaited once with all of its items, in the order in which they were collected, after everything else
        of the unit was written. So no other lock is still to come when `write` takes its own, and if it takes them in
        one order for all units, no two of them wait for each other in a circle.

        Args:
            write: writes the items through the unit it gets, and does not collect anything. A function of a module:
                the items of one function object are written together.

        Raises `RuntimeError` in a unit that only reads.
        """
        self._require_writable()
        self._collected.setdefault(write, []).append(item)

    async def _read(self, query: Executable, parameters: Parameters) -> CursorResult[Any]:
        try:
            if self._open is not None:
                return await self._open.execute(query, parameters)
            return await self._reads.read(query, parameters)
        except DATABASE_ERRORS as failed:
            _refuse_if_unavailable(failed)
            raise

    @property
    def _is_idle(self) -> bool:
        """Whether nothing was written, and nothing is left to do."""
        return self._open is None and not self._always and not self._collected and not self._after_commit

    async def _finish(self) -> None:
        try:
            await self._commit()
        except BaseException:
            await self._roll_back()
            raise
        for action in self._after_commit:
            try:
                await action()
            except Exception:  # the change is safe, and everybody else who is to hear of it must hear of it
                log.exception("database.after_commit_failed")

    async def _commit(self) -> None:
        self._reads_only = False  # `always` holds for a unit that only reads, too: this is its end
        for statement, parameters in self._always:
            await self.write(statement, parameters)
        for write, items in self._collected.items():
            await self.begin()
            await write(self, items)
        if self._open is not None:
            try:
                await self._open.commit()
            except DATABASE_ERRORS as failed:
                _refuse_if_unavailable(failed)
                raise
            await self._close()

    async def _roll_back(self) -> None:
        self._collected.clear()
        await self._undo()
        if self._always:
            try:
                await self._commit()
            except BaseException:
                await self._undo()
                raise

    async def _undo(self) -> None:
        if self._open is not None:
            try:
                await self._open.rollback()
            finally:
                await self._close()

    async def _close(self) -> None:
        connection, self._open = self._open, None
        self._scope.is_open = False
        if connection is not None:
            await self._writes.give_back(connection)


def _refuse_if_unavailable(failed: BaseException) -> None:
    """Raises `DatabaseUnavailable` where that is what an error of the driver means."""
    if is_unavailable(failed):
        log.warning("database.away", error=type(failed).__name__)
        raise DatabaseUnavailable(retry_after=1) from failed
