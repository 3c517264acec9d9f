"""The unit of work: what one phase of a request reads and writes, with at most one transaction.

The `Database` that opened it (`database.py`) ends it, through its private methods.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

import structlog
from sqlalchemy import Executable, Row, text

from shopkeeper.storage.port import Reads, Transacting, Writes
from shopkeeper.storage.statements import NOTHING, Parameters, Result
from shopkeeper.storage.time_budget import TimeBudget
from shopkeeper.storage.unavailable import DATABASE_ERRORS, CommitUnknown, DatabaseUnavailable, is_unavailable
from shopkeeper.transaction_guard import TransactionScope

log = structlog.get_logger("shopkeeper.database")

AfterCommit = Callable[[], Awaitable[None]]
Item = TypeVar("Item")
WriteCollected = Callable[["Unit", Sequence[Item]], Awaitable[None]]
"""Writes the items that a unit collected, right before it commits."""

_SAVEPOINT = text("SAVEPOINT unit")
_ROLL_BACK_TO_SAVEPOINT = text("ROLLBACK TO SAVEPOINT unit")
_RELEASE_SAVEPOINT = text("RELEASE SAVEPOINT unit")


class _Collected(NamedTuple):
    item: Any
    always: bool


class Unit:
    """One unit of work, for reading and writing. Only the `Database` that opened it ends it.

    Build a frequent statement once, with bind parameters, and pass its `parameters` with each call: building it, or
    binding its values beforehand, takes longer than SQLite takes to execute it.

    Args:
        seconds: how long it may wait for PostgreSQL, over all of its statements.
    """

    def __init__(self, dialect: str, reads: Reads, writes: Writes, *, seconds: float, reads_only: bool = False) -> None:
        self.dialect = dialect
        """`sqlite` or `postgresql`."""
        self._reads, self._writes, self._reads_only = reads, writes, reads_only
        self._budget = TimeBudget(seconds)
        self._scope = TransactionScope()
        self._open: Transacting | None = None
        self._begun_by: asyncio.Event | None = None
        self._is_ending = False
        self._after_commit: list[tuple[AfterCommit, AfterCommit | None]] = []
        self._always: list[tuple[Executable, Parameters]] = []
        self._collected: dict[WriteCollected[Any], list[_Collected]] = {}

    async def all(self, query: Executable, parameters: Parameters = None) -> Sequence[Row[Any]]:
        """Return every row of a query."""
        return (await self._read(query, parameters)).all()

    async def first(self, query: Executable, parameters: Parameters = None) -> Row[Any] | None:
        """Return the first row of a query, or None."""
        return (await self._read(query, parameters)).first()

    async def scalar(self, query: Executable, parameters: Parameters = None) -> Any:
        """Return the first column of the first row, or None."""
        return (await self._read(query, parameters)).scalar()

    async def write(self, statement: Executable, parameters: Parameters = None) -> Result:
        """Execute a statement inside the transaction, which it opens if needed.

        Given a sequence of parameters, the statement is executed once for each: not at all if it is empty.

        Raises SQLAlchemy's `IntegrityError` where a constraint breaks (`broken_constraint` returns which), and
        `RuntimeError` in a unit that only reads, and where two tasks write first at once.
        """
        await self.begin()
        if parameters is not None and not isinstance(parameters, Mapping) and not parameters:
            return NOTHING
        assert self._open is not None  # noqa: S101 - `begin` has just opened it; for the type checker
        try:
            return await self._open.execute(statement, parameters)
        except DATABASE_ERRORS as failed:
            _refuse_if_unavailable(failed)
            raise

    async def begin(self) -> None:
        """Open the transaction now: rows that are read and locked from here on do not change until it ends.

        Raises `RuntimeError` in a unit that only reads.
        """
        if self._open is not None:
            return
        self._require_writable()
        if self._begun_by is not None:
            raise RuntimeError("Two tasks begin the transaction of one unit of work at once. Await one first.")
        self._begun_by = asyncio.Event()
        try:
            connection = await self._begun()
            if self._is_ending:
                try:
                    await connection.rollback()
                finally:
                    await self._writes.give_back(connection)
                raise RuntimeError("The unit of work ended while one of its tasks began the transaction.")
            self._open = connection
        except DATABASE_ERRORS as failed:
            _refuse_if_unavailable(failed)
            raise
        finally:
            self._begun_by.set()
            self._begun_by = None
        self._scope.is_open = True

    def _require_writable(self) -> None:
        if self._reads_only:
            raise RuntimeError("This unit of work only reads. Open another one with Database.unit() to write.")

    async def _begun(self) -> Transacting:
        connection = await self._writes.take(self._budget)
        try:
            await connection.begin()
        except BaseException:
            await self._writes.give_back(connection)
            raise
        return connection

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo what the body has written, and no more, where it raises. The exception passes.

        PostgreSQL refuses every further statement of a transaction in which one has failed; after this it goes on.
        """
        await self.write(_SAVEPOINT)
        actions, collected = len(self._after_commit), {write: len(items) for write, items in self._collected.items()}
        try:
            yield
        except Exception:
            await self.write(_ROLL_BACK_TO_SAVEPOINT)
            del self._after_commit[actions:]
            for write, items in self._collected.items():
                kept = collected.get(write, 0)
                items[kept:] = [item for item in items[kept:] if item.always]
            raise
        await self.write(_RELEASE_SAVEPOINT)

    def after_commit(self, action: AfterCommit, *, if_unknown: AfterCommit | None = None) -> None:
        """Call `action` after the commit, to publish an invalidation or wake the outbox; never after a rollback.

        Args:
            if_unknown: is called instead where the answer to the commit was lost (`CommitUnknown`). It must do no harm
                where nothing was committed, as an invalidation does none.
        """
        self._after_commit.append((action, if_unknown))

    def after_commit_or_doubt(self, action: AfterCommit) -> None:
        """Call `action` after the commit, and also where its answer was lost."""
        self.after_commit(action, if_unknown=action)

    def always(self, statement: Executable, parameters: Parameters = None) -> None:
        """Execute a statement at the end of the unit, even after a rollback: the audit of a refused attempt.

        A unit that only reads executes it too, in a transaction of its own at the end.
        """
        self._always.append((statement, parameters))

    def collect(self, item: Item, *, write: WriteCollected[Item], always: bool = False) -> None:
        """Keep an item to be written right before the commit; drop it if the unit rolls back.

        `write` is awaited once with all of its items, in the order in which they were collected, after all other writes
        of the unit. So no other lock follows those that `write` takes; if it takes them in one order in all units, no
        two units deadlock.

        Args:
            write: writes the items through the unit it gets, and collects nothing itself. It must be a module-level
                function: items are grouped by function object.
            always: write the item even after a rollback, in a transaction of its own.

        Raises `RuntimeError` in a unit that only reads, unless `always` is set.
        """
        if not always:
            self._require_writable()
        self._collected.setdefault(write, []).append(_Collected(item, always))

    async def _read(self, query: Executable, parameters: Parameters) -> Result:
        try:
            if self._open is not None:
                return await self._open.execute(query, parameters)
            return await self._reads.read(query, parameters, self._budget)
        except DATABASE_ERRORS as failed:
            _refuse_if_unavailable(failed)
            raise

    @property
    def _is_idle(self) -> bool:
        """Whether nothing was written and nothing is left to do."""
        is_open = self._open is not None or self._begun_by is not None
        return not (is_open or self._always or self._collected or self._after_commit)

    async def _finish(self) -> None:
        try:
            await self._commit()
        except CommitUnknown:
            await _run([if_unknown for _, if_unknown in self._after_commit if if_unknown is not None])
            await self._roll_back()
            raise
        except BaseException:
            await self._roll_back()
            raise
        await _run([action for action, _ in self._after_commit])

    async def _commit(self) -> None:
        if self._begun_by is not None:
            raise RuntimeError("The unit of work ends while one of its tasks begins the transaction.")
        self._reads_only = False  # this is the end of the unit, where `always` also applies to one that only reads
        for statement, parameters in self._always:
            await self.write(statement, parameters)
        for write, items in self._collected.items():
            await self.begin()
            await write(self, [collected.item for collected in items])
        if self._open is not None:
            try:
                await self._open.commit()
            except DATABASE_ERRORS as failed:
                _refuse_if_unavailable(failed)
                raise
            await self._close()

    async def _roll_back(self) -> None:
        kept = {write: [item for item in items if item.always] for write, items in self._collected.items()}
        self._collected = {write: items for write, items in kept.items() if items}
        await self._undo()
        if self._always or self._collected:
            try:
                await self._commit()
            except BaseException:
                await self._undo()
                raise

    async def _undo(self) -> None:
        if self._begun_by is not None:  # a task of the unit that nobody waits for any more
            self._is_ending = True
            await self._begun_by.wait()
            self._is_ending = False
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


async def _run(actions: Sequence[AfterCommit]) -> None:
    for action in actions:
        try:
            await action()
        except Exception:  # the change is committed, so the other actions must run, too
            log.exception("database.after_commit_failed")


def _refuse_if_unavailable(failed: BaseException) -> None:
    """Raise `DatabaseUnavailable` where the driver's exception means that."""
    if isinstance(failed, DatabaseUnavailable):
        log.warning("database.away", error=type(failed.__cause__ or failed).__name__)
        raise failed
    if is_unavailable(failed):
        log.warning("database.away", error=type(failed).__name__)
        raise DatabaseUnavailable(retry_after=1) from failed
