"""Signing out at the provider, too: OpenID Connect RP-Initiated Logout 1.0.

Our session ends first, so that a provider that is away, or a browser that is closed there, leaves nobody signed in.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec
import structlog

from shopkeeper.clock import Clock
from shopkeeper.crypto import KeyRing, Unsealable
from shopkeeper.openid.client import OpenIDClient
from shopkeeper.openid.errors import ProviderError
from shopkeeper.signin.provider_sessions import ProviderSession, ProviderSessions
from shopkeeper.storage.database import Unit

CALLBACK: Final = "/self-service/methods/oidc/logout/callback"
"""Below our public address, where a provider sends the browser back to: its `post_logout_redirect_uri`."""
PURPOSE: Final = "provider logout"
"""The purpose of the key ring, for key derivation."""
PATIENCE: Final = timedelta(seconds=2)
"""How long a sign-out waits for a provider to answer."""
AWAY: Final = timedelta(hours=1)
"""How long a browser may stay at the provider, and still comes back to where it wanted."""
LONGEST_URL: Final = 7_000
"""Characters of the address at the provider. Many servers refuse request lines of more than 8 kB."""

log = structlog.get_logger("shopkeeper.logout")


class ProviderLogout:
    """Leads browsers to the sign-out of the provider that their session began with, and back.

    Args:
        clients: the providers that a sign-out leads to, by their ids.
        keys: seals `state`.
        callback_url: where providers send the browser back to; it has to be registered there.
    """

    def __init__(
        self,
        clients: Mapping[str, OpenIDClient],
        *,
        provider_sessions: ProviderSessions,
        keys: KeyRing,
        clock: Clock,
        callback_url: str,
        patience: timedelta = PATIENCE,
    ) -> None:
        self._clients = clients
        self._provider_sessions = provider_sessions
        self._keys = keys
        self._clock = clock
        self._callback_url = callback_url
        self._patience = patience

    async def sessions_of(self, unit: Unit, session_ids: Sequence[UUID]) -> Sequence[ProviderSession]:
        """Return the providers' sessions that these sessions began with; ask before the sessions end."""
        return await self._provider_sessions.of(unit, session_ids)

    async def sign_out_url(self, provider_sessions: Sequence[ProviderSession], *, back_to: str) -> str | None:
        """Return where the provider signs the browser out; None where none does, or its provider is away.

        Where a session began with several providers, the last one counts: the browser can be led to one place only.
        """
        last = next((each for each in provider_sessions if each.provider in self._clients), None)
        if last is None:
            return None
        client, state = self._clients[last.provider], self._state(back_to)
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                await client.reach()
                for hint in dict.fromkeys((_hint(last, client), None)):
                    url = await client.end_session_url(
                        id_token_hint=hint, post_logout_redirect_uri=self._callback_url, state=state
                    )
                    if url is None or len(url) <= LONGEST_URL:
                        return url
        except (ProviderError, TimeoutError) as away:
            log.warning("provider_logout.unavailable", provider=last.provider, error=type(away).__name__)
        return None

    def back_to(self, state: str) -> str | None:
        """Return the address that a browser left for in `sign_out_url`; None where `state` is not ours or too old."""
        try:
            until, back_to = msgspec.json.decode(self._keys.open_text(state, context=b""), type=tuple[int, str])
        except (Unsealable, msgspec.DecodeError):
            return None
        return back_to if self._clock.now().timestamp() < until else None

    def _state(self, back_to: str) -> str:
        until = int((self._clock.now() + AWAY).timestamp())
        return self._keys.seal_text(msgspec.json.encode((until, back_to)), context=b"")


def _hint(last: ProviderSession, client: OpenIDClient) -> str | None:
    """Return the ID token, where the provider has issued it. Another one must not read it."""
    return last.id_token if last.issuer is not None and client.provider.issues(last.issuer) else None
