"""Limits how often an address has us ask other servers about tokens in vain.

Who knows the form of a session server's tokens, or of opaque ones, can make up as many as they like, and each would be
a call of ours. So a question is counted before it is asked, and given back unless the answer is that the token is not
valid: shoppers behind one address do not lock each other out, and no address has more questions under way than it may
ask in vain. A client that disconnects has asked all the same. Cached answers cost nothing.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from shopkeeper.client import Client
from shopkeeper.errors import Refusal, TokenInvalid
from shopkeeper.openid.errors import ProviderError, ProviderTokenInvalid

_IN_VAIN = (TokenInvalid, ProviderTokenInvalid)


class Budget(Protocol):
    """A budget of attempts by address; see `Throttle`."""

    async def borrow(self, source: str) -> str: ...

    async def give_back(self, borrowed: str) -> None: ...


class TokenQuestions:
    """Counts questions."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    @asynccontextmanager
    async def of(self, client: Client | None) -> AsyncIterator[None]:
        """Count the question that is asked within, for a client; None is a caller of ours, who is not limited.

        Raises `TooManyRequests`.
        """
        if client is None:
            yield
            return
        asked = await self._budget.borrow(client.ip)
        try:
            yield
        except _IN_VAIN:
            raise
        except (Refusal, ProviderError):
            await self._budget.give_back(asked)
            raise
        await self._budget.give_back(asked)
