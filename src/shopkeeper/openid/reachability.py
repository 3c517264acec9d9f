"""Whether a provider answers, asked before a browser is sent there for something that it can do without."""

from datetime import timedelta
from typing import Final

from shopkeeper.clock import Clock
from shopkeeper.openid.calls import ProviderCalls
from shopkeeper.openid.errors import ProviderAnswerInvalid
from shopkeeper.openid.renewal import RenewedFromProvider

RECENT: Final = timedelta(seconds=10)
"""How long an answer counts, so that many browsers cause one call."""


class Reachability:
    """Calls an address of the provider. Every answer below 500 says that the provider is there."""

    def __init__(self, calls: ProviderCalls, clock: Clock) -> None:
        self._calls = calls
        self._url: str | None = None
        self._answer = RenewedFromProvider(self._ask, clock=clock, fresh=RECENT, usable=RECENT)

    async def check(self, url: str) -> None:
        """Raise `ProviderUnavailable` where nothing has answered at the address within `RECENT`."""
        self._url = url
        await self._answer.get()

    async def _ask(self) -> None:
        try:
            await self._calls.send("GET", self._url or "")
        except ProviderAnswerInvalid:  # a redirect, or a large page: something answers
            return
