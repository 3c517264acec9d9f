"""A provider ends sessions here: OpenID Connect Back-Channel Logout 1.0.

    known provider? -> within budget? -> token valid? -> not received before? -> its sessions end

The token is verified before the transaction begins, because the provider's keys may have to be fetched.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import structlog

from shopkeeper import crypto
from shopkeeper.client import Client
from shopkeeper.errors import NotFound
from shopkeeper.openid.authenticated import LogoutToken
from shopkeeper.openid.client import OpenIDClient
from shopkeeper.openid.errors import ProviderTokenInvalid
from shopkeeper.openid.logout_token import MAX_AGE
from shopkeeper.openid.token_claims import acceptable_until
from shopkeeper.sessions.ending import ChosenSessions
from shopkeeper.sessions.service import Sessions
from shopkeeper.signin.provider_sessions import ProviderSessions
from shopkeeper.storage.database import Database, Unit
from shopkeeper.throttle import Throttle, network_of
from shopkeeper.tokens import received_token_store as store

LONGEST_TOKEN: Final = 8_192
"""Characters of a logout token. It has nine claims at most that we know."""
BATCH: Final = 1_000
"""Sessions that end by one statement."""

log = structlog.get_logger("shopkeeper.logout")


class BackchannelLogout:
    """Ends the sessions that a provider's logout tokens name.

    Args:
        clients: every configured provider, by its id.
        throttle: limits how many tokens an address sends for a provider.
    """

    def __init__(
        self,
        clients: Mapping[str, OpenIDClient],
        *,
        database: Database,
        sessions: Sessions,
        provider_sessions: ProviderSessions,
        throttle: Throttle,
    ) -> None:
        self._clients = clients
        self._database = database
        self._sessions = sessions
        self._provider_sessions = provider_sessions
        self._throttle = throttle

    async def end(self, provider: str, token: str, *, client: Client) -> int:
        """End the sessions of a logout token, and return how many there were; unknown ones have ended before.

        Never call it while a transaction is open. Raises:
            NotFound: there is no such provider.
            TooManyRequests: this address has sent too many for this provider.
            ProviderTokenInvalid: the token is not valid, or was received before.
            ProviderUnavailable: the provider's keys are needed, and it does not answer.
        """
        if provider not in self._clients:
            raise NotFound("There is no such provider.")
        await self._throttle.spend(f"{provider}/{network_of(client.ip)}")
        if len(token) > LONGEST_TOKEN:
            raise ProviderTokenInvalid(cause="too_long")
        verified = await self._clients[provider].verify_logout_token(token)
        async with self._database.unit() as unit:
            if not await store.is_first(unit, _digest(provider, verified), expires_at=_acceptable_until(verified)):
                raise ProviderTokenInvalid(cause="received_before")
            ended = await self._end_all(unit, provider, verified, client=client)
        log.info("backchannel_logout", provider=provider, sessions=ended)
        return ended

    async def _end_all(self, unit: Unit, provider: str, token: LogoutToken, *, client: Client) -> int:
        """End the sessions of a token. They are one person's, so one transaction may lock them all.

        Each batch begins beyond the one before, so that this ends whatever became of the sessions that were found.
        """
        ended, last = 0, None
        while found := await self._provider_sessions.find(
            unit, provider, issuer=token.issuer, subject=token.subject, sid=token.sid, limit=BATCH, after=last
        ):
            chosen = ChosenSessions(sessions=found)
            gone = await self._sessions.end_many(unit, chosen, delete=False, by=f"provider:{provider}", client=client)
            ended, last = ended + gone.count, found[-1]
            if len(found) < BATCH:
                break
        return ended


def _acceptable_until(token: LogoutToken) -> datetime:
    return acceptable_until(token.issued_at, token.expires_at, max_age=MAX_AGE)


def _digest(provider: str, token: LogoutToken) -> bytes:
    return crypto.digest(f"{provider}/{len(token.issuer)}:{token.issuer}{token.jti}")
