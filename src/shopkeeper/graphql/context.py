"""What every resolver may use: one frozen value for each request."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import strawberry

from shopkeeper.commerce.port import Engine, Shopper
from shopkeeper.graphql.loaders import Loaders
from shopkeeper.graphql.signing_up import SigningUp
from shopkeeper.sessions.values import Principal
from shopkeeper.storage.database import Unit

Work = Callable[[], AbstractAsyncContextManager[Unit]]


@dataclass(frozen=True, slots=True)
class Context:
    """One request.

    Queries share `unit`, which they only read with. Each mutation is a unit of work of its own (`change`): what it did
    stays done when a later one of the same request is refused, and what it answers is already safe.

    `asked` are the names of all fields in the request, so that a resolver can fetch at once what is asked for below it,
    and nothing that is not.
    """

    unit: Unit
    work: Work
    principal: Principal
    shopper: Shopper
    engine: Engine
    loaders: Loaders
    signing_up: SigningUp
    pictures: Callable[[str], str]
    locale: str
    asked: frozenset[str] = frozenset()

    @asynccontextmanager
    async def change(self) -> AsyncIterator[Unit]:
        """The unit of work of one mutation; what was read before it is read anew after it."""
        async with self.work() as unit:
            yield unit
        self.loaders.forget()


Info: TypeAlias = strawberry.Info[Context, None]
