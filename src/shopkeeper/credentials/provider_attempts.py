"""Limits how often an address has us ask identity providers in vain.

Each answer of a browser has us redeem a code, and each ID token of an app may have us fetch keys. Whoever makes them up
could use up what the provider grants us, and close sign-in for everybody. So an attempt is spent when a browser leaves
or an app sends a token. It is given back once the provider has authenticated somebody, or has sent the browser back
with an error in place of a code: people who sign in from one network do not lock each other out. A code that the token
endpoint refuses stays counted. Anybody can send a token again, which has cost its sender nothing: its attempt is given
back only when the submission is done.
"""

from functools import partial
from typing import Protocol

from shopkeeper import refunds
from shopkeeper.client import Client


class Budget(Protocol):
    """A budget of attempts by address; see `Throttle`."""

    async def borrow(self, source: str) -> str: ...

    async def give_back(self, borrowed: str) -> None: ...


class ProviderAttempts:
    """Counts attempts."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    async def begin(self, client: Client) -> str:
        """Count an attempt; return what `answered` takes. Raises `TooManyRequests`."""
        return await self._budget.borrow(client.ip)

    async def answered(self, attempt: str | None) -> None:
        """Give an attempt back, which the provider has answered; None is one that was not counted."""
        if attempt is not None:
            await self._budget.give_back(attempt)

    def answered_when_done(self, attempt: str) -> None:
        """Give an attempt back when the submission is done, unless that is refused or rejected."""
        refunds.when_done(partial(self._budget.give_back, attempt))
