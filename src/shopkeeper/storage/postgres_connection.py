"""Connections to PostgreSQL, directly over asyncpg, with a client's deadline for every statement and every wait.

Two kinds of server are told apart when a connection is made. Behind a connection pooler such as PgBouncer, which lends
a server's connection for one transaction, nothing may stay behind on it: no setting, no named prepared statement. Time
limits are set inside each transaction there, and statements are parsed each time.

Transactions are READ COMMITTED, whatever the server's default is: they lock the rows that they depend on, and rely on
seeing what others have committed meanwhile.
"""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import asyncpg  # type: ignore[import-untyped]  # asyncpg carries no types
from asyncpg.prepared_stmt import PreparedStatement  # type: ignore[import-untyped]
from sqlalchemy import Executable
from sqlalchemy.exc import DBAPIError, IntegrityError

from shopkeeper.cancellation import end_tasks
from shopkeeper.storage.circuit_breaker import CircuitBreaker
from shopkeeper.storage.connection_generation import ConnectionGeneration
from shopkeeper.storage.postgres_statements import COMPILER, BoundStatement
from shopkeeper.storage.statements import Parameters, Result
from shopkeeper.storage.time_budget import TimeBudget
from shopkeeper.storage.unavailable import (
    CommitUnknown,
    DatabaseUnavailable,
    RetryAtOnce,
    is_passing,
    is_unavailable,
)

CLOSE_WITHIN: Final = 2.0
MOST_PREPARED: Final = 300
"""Prepared statements that a connection keeps."""
LIMITS: Final[Mapping[str, str]] = {
    "statement_timeout": "5s",
    "lock_timeout": "4s",
    "idle_in_transaction_session_timeout": "60s",
}
"""The server's limits for one request, so that it cannot block others for long; migrations and bulk loading have no
limits."""

_DRIVER_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
_SET_LIMITS: Final = "SELECT " + ", ".join(f"set_config('{name}', '{limit}', false)" for name, limit in LIMITS.items())
_BEGIN_POOLED: Final = "; ".join([_BEGIN, *(f"SET LOCAL {name} = '{limit}'" for name, limit in LIMITS.items())])
# A pooler tells its clients process ids of its own, which they cancel statements with.
_IS_DIRECT: Final = "SELECT pg_backend_pid()"
_WRITES: Final = ("INSERT", "UPDATE", "DELETE")
Value = TypeVar("Value")
Observe = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long to wait for PostgreSQL, in seconds. A request has been refused after less than ten."""

    answer: float = 5.5
    """For a statement, a commit or a rollback. A server that is reached directly gives up earlier by itself."""
    connect: float = 3.0
    """For a connection to be made."""
    idle: float = 60.0
    """Unused for longer than this, a connection is asked for an answer before it is lent."""
    probe: float = 1.0
    """For that answer."""
    turn: float = 5.0
    """For a connection to be free, while the server answers others."""
    bulk_lock: float = 600.0
    """For a lock in a migration, such as that of another process which migrates."""
    bulk_commit: float = 60.0
    """For the commit of a migration or of bulk loading."""
    total: float = 8.0
    """For all waits of one unit of work together."""


class PostgresServer:
    """How to reach a server, and what is known of it: shared by the pools of one database.

    Args:
        options: the arguments of `asyncpg.connect`, and `async_creator_fn` where another function makes connections.
    """

    def __init__(self, options: Mapping[str, Any], deadlines: Deadlines) -> None:
        self._options = {"timeout": deadlines.connect, **options, "statement_cache_size": 0}
        self._connect = self._options.pop("async_creator_fn", asyncpg.connect)
        self.deadlines = deadlines
        self.breaker = CircuitBreaker()
        self.readers, self.writers = ConnectionGeneration(), ConnectionGeneration()
        self.observers: list[Observe] = []
        self._pooled = self._read_only = False
        self._probe: asyncio.Task[None] | None = None

    async def connect(self, generation: ConnectionGeneration, budget: TimeBudget) -> "PostgresConnection":
        """Open a connection. Raises `DatabaseUnavailable` for whatever reason there is none."""
        with self.breaker.connecting():
            began, seconds = time.monotonic(), budget.at_most(self.deadlines.connect)
            try:
                async with asyncio.timeout(seconds):
                    return await self._connected(generation)
            except TimeoutError as failed:
                if seconds >= self.deadlines.connect:
                    self._is_silent(failed)
                raise DatabaseUnavailable(retry_after=1) from failed
            except _DRIVER_ERRORS as failed:
                raise DatabaseUnavailable(retry_after=1) from failed
            finally:
                budget.spend(time.monotonic() - began)

    def suspect(self) -> None:
        """Find out whether the server is silent, or was only slow with one statement: a new connection tells.

        Nobody waits for it.
        """
        if not self.breaker.is_open and (self._probe is None or self._probe.done()):
            self._probe = asyncio.create_task(self._try_to_connect())

    def is_read_only(self, generation: ConnectionGeneration, number: int) -> bool:
        """Note that a connection for writing accepts no writes. Returns whether a newer connection may.

        Readers stay where they are until the server that can be written is found: they may be the only ones who work.
        """
        self._read_only = True
        return generation.retire_observed(number)

    def found_read_only(self) -> bool:
        """Note that the newest connection for writing accepts none."""
        return self.is_read_only(self.writers, self.writers.number)

    def is_writable(self) -> None:
        """Note that something was written. Readers may still be connected to the server that was read-only."""
        if self._read_only:
            self._read_only = False
            self.readers.retire()

    def retire_all(self) -> None:
        """Use no connection again that was made until now."""
        self.readers.retire()
        self.writers.retire()

    def retire_observed(self, generation: ConnectionGeneration, number: int) -> None:
        """Retire all connections for what one of this generation has met, unless that was done before."""
        if generation.number == number:
            self.retire_all()

    async def close(self) -> None:
        """End what runs in the background."""
        if self._probe is not None:
            await end_tasks([self._probe])

    def _is_silent(self, failed: TimeoutError) -> None:
        self.breaker.open(failed)
        self.retire_all()

    async def _try_to_connect(self) -> None:
        with suppress(DatabaseUnavailable):
            connection = await self.connect(self.readers, TimeBudget(self.deadlines.connect))
            await connection.close()

    @contextmanager
    def observed(self, observe: Observe) -> Iterator[None]:
        """Call `observe` with the text of each statement while the context is open."""
        self.observers.append(observe)
        try:
            yield
        finally:
            self.observers.remove(observe)

    def assume_pooler(self) -> None:
        """Keep nothing on any connection from now on: a prepared statement has vanished."""
        self._pooled = True
        self.retire_all()

    async def _connected(self, generation: ConnectionGeneration) -> "PostgresConnection":
        number = generation.number
        driver = await self._connect(**self._options)
        try:
            pooled = self._pooled or await _fetch_one(driver, _IS_DIRECT) != driver.get_server_pid()
            if not pooled:
                await _fetch_one(driver, _SET_LIMITS)
        except BaseException:
            driver.terminate()
            raise
        return PostgresConnection(driver, server=self, pooled=pooled, generation=generation, number=number)


async def _fetch_one(driver: Any, sql: str) -> Any:
    return await (await driver.prepare(sql, name="")).fetchval()


class PostgresConnection:
    """One connection. After a wait that ran out, an error of the connection, or a cancellation it is not used again."""

    def __init__(
        self, driver: Any, *, server: PostgresServer, pooled: bool, generation: ConnectionGeneration, number: int
    ) -> None:
        self._driver, self._server, self._pooled = driver, server, pooled
        self._generation, self._number = generation, number
        self._prepared: OrderedDict[str, PreparedStatement] = OrderedDict()
        self._name, self._named = secrets.token_hex(8), 0
        self._interrupted = False
        self._budget = TimeBudget(server.deadlines.total)
        self.used_at = time.monotonic()
        self._sql = ""

    @property
    def is_open(self) -> bool:
        return not self._driver.is_closed()

    @property
    def is_usable(self) -> bool:
        """Whether a new read or transaction may begin on it."""
        return (
            not self._driver.is_closed()
            and self._number == self._generation.number
            and not self._interrupted
            and not self._driver.is_in_transaction()
        )

    async def answers(self, within: float) -> bool:
        """Whether the server still answers on this connection, which was idle for long."""
        try:
            await self._driver.execute("SELECT 1", timeout=within)
        except _DRIVER_ERRORS:
            self.terminate()
            return False
        return True

    def lend(self, budget: TimeBudget) -> None:
        """Let the waits of the borrower count against its budget."""
        self._budget = budget

    async def begin(self) -> None:
        await self._command(_BEGIN_POOLED if self._pooled else _BEGIN)

    async def commit(self) -> None:
        """Commit. Raises `CommitUnknown` where no answer came, and `RuntimeError` where the server rolled back instead.

        It does so where an earlier statement of the transaction has failed and its exception was swallowed.
        """
        try:
            status = await self._command("COMMIT")
        except DatabaseUnavailable as failed:
            if self._driver.is_closed() or self._interrupted:
                raise CommitUnknown(retry_after=1) from failed.__cause__ or failed
            raise
        if status != "COMMIT":
            raise RuntimeError("PostgreSQL rolled the transaction back, because one of its statements had failed.")

    async def roll_back(self) -> None:
        """Roll back. The server does so by itself where the connection is gone."""
        await self._command("ROLLBACK")

    async def _command(self, sql: str) -> str:
        status: str = await self._answered(lambda seconds: self._driver.execute(sql, timeout=seconds))
        return status

    async def execute(self, statement: Executable, parameters: Parameters) -> Result:
        """Execute a statement. Raises `DatabaseUnavailable`, or SQLAlchemy's exception for the driver's."""
        if parameters is None or isinstance(parameters, Mapping):
            given: Sequence[Mapping[str, Any]] = (parameters or {},)
        else:
            given = parameters
        bound = COMPILER.bound(statement, tuple(given[0]))
        return await self._answered(lambda seconds: self._execute(bound, given, seconds))

    async def close(self) -> None:
        """Take leave of the server where that is quickly done: it ends a statement that still runs."""
        try:
            async with asyncio.timeout(CLOSE_WITHIN):
                await self._driver.close(timeout=CLOSE_WITHIN)
        except (*_DRIVER_ERRORS, TimeoutError):
            self.terminate()

    def terminate(self) -> None:
        """Drop the connection without a word."""
        self._driver.terminate()

    @property
    def was_interrupted(self) -> bool:
        """Whether a statement may still run on it."""
        return self._interrupted and not self._driver.is_closed()

    async def _execute(self, bound: BoundStatement, given: Sequence[Mapping[str, Any]], seconds: float) -> Result:
        sql, values = bound.sql_and_values(given[0])
        self._sql = sql
        for observe in self._server.observers:
            observe(sql)
        statement = self._prepared.get(sql)
        if statement is not None:
            self._prepared.move_to_end(sql)
        else:
            began = time.monotonic()
            statement = await self._prepare(sql, seconds)
            seconds = max(0.001, seconds - (time.monotonic() - began))
        if len(given) == 1:
            records = await statement.fetch(*values, timeout=seconds)
            status = statement.get_statusmsg() or ""
            if status.startswith(_WRITES):
                self._server.is_writable()
            return bound.result(records, describe=statement.get_attributes, rowcount=_changed(status))
        all_values = [values, *(bound.sql_and_values(each)[1] for each in given[1:])]
        await statement.executemany(all_values, timeout=seconds)
        return bound.result((), describe=tuple, rowcount=-1)

    async def _prepare(self, sql: str, seconds: float) -> PreparedStatement:
        if self._pooled:
            return await self._driver.prepare(sql, name="", timeout=seconds)
        self._named += 1
        # Names that no other connection uses: a pooler that was not recognised must not find another's statement.
        statement = await self._driver.prepare(sql, name=f"{self._name}_{self._named}", timeout=seconds)
        self._prepared[sql] = statement
        if len(self._prepared) > MOST_PREPARED:
            self._prepared.popitem(last=False)
        return statement

    async def _answered(self, ask: Callable[[float], Awaitable[Value]]) -> Value:
        """Wait for an answer, but not for long. The driver asks the server to cancel what takes longer, in the
        background: behind a pooler the server itself may have no limit."""
        seconds, began = self._budget.at_most(self._server.deadlines.answer), time.monotonic()
        try:
            return await ask(seconds)
        except TimeoutError as failed:
            self._interrupted = True
            if seconds >= self._server.deadlines.answer:
                self._server.suspect()
            raise DatabaseUnavailable(retry_after=1) from failed
        except _DRIVER_ERRORS as failed:
            raise self._translated(failed) from failed
        except BaseException:
            self._interrupted = True
            raise
        finally:
            self._budget.spend(time.monotonic() - began)

    def _translated(self, failed: Exception) -> Exception:
        if isinstance(failed, asyncpg.InternalClientError):
            self.terminate()
        if isinstance(failed, asyncpg.ReadOnlySQLTransactionError):
            may_differ = self._server.is_read_only(self._generation, self._number)
            return (RetryAtOnce if may_differ else DatabaseUnavailable)(retry_after=1)
        if self._driver.is_closed() or is_unavailable(failed):
            self._learn(failed)
            passing = self._driver.is_closed() or is_passing(failed)
            return (RetryAtOnce if passing else DatabaseUnavailable)(retry_after=1)
        kind = IntegrityError if isinstance(failed, asyncpg.IntegrityConstraintViolationError) else DBAPIError
        if isinstance(failed, asyncpg.PostgresError):
            failed.detail = None  # it quotes the row, whose addresses and names must not reach the log
        return kind(self._sql, None, failed, hide_parameters=True)

    def _learn(self, failed: Exception) -> None:
        """Draw conclusions about the other connections from what this one has met."""
        if getattr(failed, "sqlstate", None) == asyncpg.InvalidSQLStatementNameError.sqlstate:
            self._server.assume_pooler()
        elif self._driver.is_closed() or isinstance(failed, _OF_ALL_CONNECTIONS):
            self._server.retire_observed(self._generation, self._number)


# A changed table, a server that is about to stop: known to one connection, met by all of them.
_OF_ALL_CONNECTIONS: Final = (
    asyncpg.InvalidCachedStatementError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
)


def _changed(status: str) -> int:
    """Return the count of a status such as `UPDATE 1` or `INSERT 0 1`."""
    count = status.rpartition(" ")[2]
    return int(count) if count.isdigit() else -1
