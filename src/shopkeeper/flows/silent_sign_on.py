"""Silent sign-on: a page asks whether its visitor is signed in at a provider, without showing anything.

The browser goes to the provider with `prompt=none` (OpenID Connect Core 1.0 section 3.1.2.1). It comes back signed in,
or as it was: same guest, same cart, same cookies, no error page. The second is what follows every failure: the provider
knows nobody, knows somebody whom we do not, wants to ask something, is slow or away.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import structlog

from shopkeeper.credentials.steps import AnyStep
from shopkeeper.errors import Refusal
from shopkeeper.flows.flow import LOGIN, Caller, Flow, FlowType, Opening, Submission
from shopkeeper.flows.handler import NextForm, Turn
from shopkeeper.flows.outcomes import Completed, FlowOutcome, FlowRefused, RedirectedAway
from shopkeeper.flows.pipeline import Pipeline
from shopkeeper.openid.client import OpenIDClient
from shopkeeper.storage.database import Unit

METHOD: Final = "oidc"
PATIENCE: Final = timedelta(seconds=2)
"""How long a visitor waits for a provider to answer before leaving for it."""
LEAVES_WITHIN: Final = timedelta(seconds=2)
"""How long the submission of the flow may take once the provider has answered."""
_FIELDS: Final = {"method": METHOD, "upstream_parameters": {"prompt": "none"}}

log = structlog.get_logger("shopkeeper.silent_sign_on")


class SilentSignOn:
    """Leaves for providers silently, and says what a browser that comes back has come back with.

    Args:
        clients: the providers where it is configured, by their ids.
    """

    def __init__(self, pipeline: Pipeline, *, clients: Mapping[str, OpenIDClient]) -> None:
        self._pipeline = pipeline
        self._clients = clients

    def landing(self, return_to: str | None) -> str:
        """Return where the browser goes in the end. Raises `ReturnToForbidden`."""
        return self._pipeline.landing(LOGIN, return_to=return_to)

    async def leave(self, provider: str, caller: Caller, *, request_url: str, landing: str) -> RedirectedAway | None:
        """Return the way to the provider; None where the browser stays as it is: it is signed in, the provider is away,
        or silent sign-on is not configured for it (any more, and the shop's pages do not know it yet). Never call it
        while a transaction is open."""
        if caller.session is not None or provider not in self._clients:
            return None
        opening = Opening(type=FlowType.BROWSER, request_url=request_url, return_to=landing, silent=True)
        submission = Submission(fields={**_FIELDS, "provider": provider})
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                await self._clients[provider].reach()
            outcome = await self._left(opening, submission, caller)
        except (Refusal, FlowRefused, TimeoutError) as stopped:
            log.info("silent_sign_on.not_left", provider=provider, reason=_reason(stopped))
            return None
        return outcome if isinstance(outcome, RedirectedAway) else None

    async def _left(self, opening: Opening, submission: Submission, caller: Caller) -> FlowOutcome:
        """Open a flow whose form is not shown, and submit to it at once: the caller's request is the submission, so
        there is no form that another site could have forged. Raises as `Pipeline.open` and `Pipeline.submit`
        do."""
        flow = await self._pipeline.open(LOGIN, opening, caller)
        handler = self._pipeline.handler_of(flow)

        async def prove(unit: Unit, turn: Turn) -> AnyStep | NextForm:
            async with asyncio.timeout(LEAVES_WITHIN.total_seconds()):
                return await handler.submit(unit, turn)

        return await self._pipeline.take_on(handler, flow, submission, caller, prove)


def stays(flow: Flow, outcome: FlowOutcome | None = None) -> bool:
    """Return whether a browser that has come back goes on as it was: the flow is silent, and no sign-in follows."""
    return flow.silent and not isinstance(outcome, Completed)


def _reason(stopped: Exception) -> str:
    refusal = stopped.refusal if isinstance(stopped, FlowRefused) else stopped
    return refusal.code if isinstance(refusal, Refusal) else type(refusal).__name__
