"""The context of resolvers: one frozen value for each operation, and for each event of a subscription.

graphql-core passes the same context to every event of a subscription, which may last for hours. Therefore an
`Operation` holds what is used for reading (unit of work, engine session, loaders), apart from the facts of the request,
and `Context.event` returns a context with a new one.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeAlias
from uuid import UUID

import strawberry

from shopkeeper.commerce.binding import OpenUnit, engine_session_in_unit, engine_unit
from shopkeeper.commerce.port import Engine, EngineSession, Grant, Shopper, ShopperKind
from shopkeeper.commerce.port import Order as EngineOrder
from shopkeeper.errors import TokenInvalid
from shopkeeper.graphql.loaders import Loaders
from shopkeeper.graphql.registration import CustomerRegistration
from shopkeeper.languages.choice import SOURCE
from shopkeeper.sessions.values import Principal
from shopkeeper.signin.cart_merge import guest_is_closed
from shopkeeper.storage.database import Unit

RecordOrder: TypeAlias = Callable[[UUID, EngineOrder, Unit | None], Awaitable[None]]
"""Records an order that an agent has placed in an impersonation."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What one operation reads with. `unit` is never used for writing, so it never opens a transaction.

    `engine` is bound to the shopper, and to `unit` if the engine shares our transaction.
    """

    unit: Unit
    engine: EngineSession
    loaders: Loaders


@dataclass(frozen=True, slots=True)
class Operations:
    """Creates operations for one shopper, and opens units of work. Lives as long as the request or the connection."""

    open_unit: OpenUnit
    engine: Engine
    shopper: Shopper
    grant: Grant | None = None

    def within(self, unit: Unit) -> Operation:
        """Create what one operation, or one event, reads with. It is valid as long as the unit."""
        session = self.engine.bind(engine_unit(self.engine, unit), self.shopper, self.grant)
        return Operation(unit, session, Loaders(session))

    @asynccontextmanager
    async def change(self, shopper: Shopper | None = None) -> AsyncIterator[EngineSession]:
        """Open an engine session for writing: in a unit of its own, or without one for a remote engine."""
        async with self.change_in_unit(shopper) as (session, _):
            yield session

    @asynccontextmanager
    async def change_in_unit(self, shopper: Shopper | None = None) -> AsyncIterator[tuple[EngineSession, Unit | None]]:
        """Open a session as `change` does, with its unit; None for an engine that does not share our transaction."""
        if not self.engine.shares_transaction:
            await self._refuse_closed_guest()
        opened = engine_session_in_unit(
            self.engine, shopper or self.shopper, open_unit=self.open_unit, grant=self.grant
        )
        async with opened as (session, unit):
            yield session, unit

    async def _refuse_closed_guest(self) -> None:
        """Raise `TokenInvalid` for a guest that a sign-in has claimed: a remote engine may not know of it yet."""
        if self.shopper.kind is ShopperKind.CUSTOMER:
            return
        async with self.open_unit() as unit:
            if await guest_is_closed(unit, store=self.shopper.store, guest=self.shopper.id):
                raise TokenInvalid


@dataclass(frozen=True, slots=True)
class Context:
    """One operation of a request.

    Queries share `operation`. Each mutation has a unit of work of its own (`change`): it is committed before it is
    answered, and is kept when a later mutation of the same request fails.

    `asked` holds the names of all fields in the request, so that a resolver can fetch at once what the fields below it
    need, and nothing else. `locale` is what amounts are printed in, `language` what errors and mails are written in;
    `wished_language` is the language that the visitor has chosen or asks for. `placed_by_agent` records an order that
    was placed in an impersonation, in the unit of the order where there is one.
    """

    operations: Operations
    operation: Operation
    principal: Principal
    registration: CustomerRegistration
    pictures: Callable[[str], str]
    locale: str
    asked: frozenset[str] = frozenset()
    placed_by_agent: RecordOrder | None = None
    language: str = SOURCE
    wished_language: str | None = None

    @property
    def shopper(self) -> Shopper:
        return self.operations.shopper

    @property
    def engine(self) -> EngineSession:
        """The engine session of queries."""
        return self.operation.engine

    @property
    def loaders(self) -> Loaders:
        return self.operation.loaders

    @asynccontextmanager
    async def change(self, shopper: Shopper | None = None) -> AsyncIterator[EngineSession]:
        """Open the engine session of one mutation; after it, everything is read again.

        `shopper` replaces the caller's own, for example to use another currency.
        """
        async with self.change_in_unit(shopper) as (session, _):
            yield session

    @asynccontextmanager
    async def change_in_unit(self, shopper: Shopper | None = None) -> AsyncIterator[tuple[EngineSession, Unit | None]]:
        """Open a session as `change` does, with its unit; None for an engine that does not share our transaction."""
        try:
            async with self.operations.change_in_unit(shopper) as opened:
                yield opened
        finally:
            # A remote engine may have made the change although its response was lost.
            self.loaders.forget()

    @asynccontextmanager
    async def event(self) -> AsyncIterator["Context"]:
        """Open a context for one event of a subscription, with a unit, a session and loaders of its own.

        Pass it to the executor of the event, which graphql-core creates for each event with this context:

        >>> async def execute_event(executor):
        ...     async with executor.context_value.event() as context:
        ...         executor.context_value = context
        ...         return await execute_subscription_event(executor)
        """
        async with self.operations.open_unit() as unit:
            yield replace(self, operation=self.operations.within(unit))


Info: TypeAlias = strawberry.Info[Context, None]
