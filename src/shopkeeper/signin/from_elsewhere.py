"""Signing in with what another server has issued: its token becomes the proof of a sign-in here.

a session's token    the session here ends with that one (`bound_sessions.py`)
an access token      the session here ends when the token does, unless the provider's settings say otherwise
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shopkeeper.client import Client
from shopkeeper.clock import Clock
from shopkeeper.credentials.linked_providers import OIDC
from shopkeeper.credentials.steps import Proof, UpstreamSession
from shopkeeper.errors import InvalidInput, TokenInvalid
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.sessions.principal import ServerCookie
from shopkeeper.sessions.token_sources import External
from shopkeeper.signin.bound_sessions import BoundSessions
from shopkeeper.upstream.kratos_by_store import KratosSessionsByStore
from shopkeeper.upstream.oidc import OidcTokens
from shopkeeper.upstream.provisioning import Provisioning

NOT_FOR_THIS_STORE: Final = "Signing in with another provider's token is not available for this store."
_SECOND_FACTORS: Final = frozenset({"aal2", "aal3"})


@dataclass(frozen=True, slots=True)
class SignInTokens:
    """The access tokens of one provider.

    Args:
        outlived: whether the sessions that they start last as long as every other.
    """

    source: OidcTokens
    outlived: bool = False


class SignInFromElsewhere:
    """Proves identities by tokens of other servers.

    Args:
        servers: the sessions of session servers, by store.
        tokens: the access tokens of each provider, in the order of the settings.
        provisioning: finds and makes the identities of their subjects.
        bound: the sessions that were started with the token of a session; None where there is no session server.
    """

    def __init__(
        self,
        *,
        servers: KratosSessionsByStore,
        tokens: Sequence[SignInTokens],
        provisioning: Provisioning,
        bound: BoundSessions | None,
        clock: Clock,
    ) -> None:
        self._servers, self._tokens, self._provisioning, self._clock = servers, tokens, provisioning, clock
        self.bound = bound

    async def prove(self, token: str, *, store: str, client: Client) -> Proof:
        """Return the proof of the identity that a token stands for; it may be made now. Never call it while a
        transaction is open.

        Raises:
            InvalidInput: no provider of the store has such tokens.
            TokenInvalid: the token is not valid, has ended, or is not for us.
            SessionServerUnavailable, IdentityProviderUnavailable: that is unknown.
            SubjectUnknown, IdentityDisabled: as in `Provisioning.identity_of`.
        """
        if self._servers.takes(token, store):
            return await self._by_session(token, store, client)
        for tokens in self._tokens:
            if tokens.source.takes(token, store):
                return await self._by_access_token(tokens, token, store, client)
        raise InvalidInput(NOT_FOR_THIS_STORE)

    async def end(self, token: str, *, store: str) -> None:
        """Sign out the session of a token at its server, if a server of the store has such tokens. Raises
        `SessionServerUnavailable`."""
        await self._servers.end(token, store)

    async def end_cookie(self, cookie: ServerCookie) -> None:
        """Sign out the session of a session server's cookie. Raises `SessionServerUnavailable`."""
        await self._servers.end_cookie(cookie)

    async def _by_session(self, token: str, store: str, client: Client) -> Proof:
        external = await self._servers.verify(token, store, client=client)
        identity = await self._provisioning.identity_of(external, token=token, client=client)
        return Proof(
            identity_id=identity.id,
            method=OIDC,
            aal=Aal.AAL2 if external.claims.get("acr") in _SECOND_FACTORS else Aal.AAL1,
            still_valid=lambda known: self._still_linked(known, external),
            provider=external.provider,
            upstream=_upstream(external, id_token=token),
        )

    async def _by_access_token(self, tokens: SignInTokens, token: str, store: str, client: Client) -> Proof:
        """The level is that of one factor, whatever the provider says: a second factor here is asked for as after every
        sign-in at a provider. The token is not kept."""
        external = await tokens.source.verify(token, store, client=client)
        if external.expires_at <= self._clock.now():  # accepted for the difference of the clocks only
            raise TokenInvalid("The token has expired: get another one from the identity provider.")
        identity = await self._provisioning.identity_of(external, token=token, client=client)
        told = await self._provisioning.told(identity, external, token=token, client=client)
        return Proof(
            identity_id=identity.id,
            method=OIDC,
            aal=Aal.AAL1,
            verified=told.verified,
            update=told.update,
            still_valid=lambda known: self._still_linked(known, external),
            provider=external.provider,
            upstream=_upstream(external),
            ends_at=None if tokens.outlived else external.expires_at,
        )

    def _still_linked(self, identity: Identity, external: External) -> bool:
        return identity.active and self._provisioning.is_linked(identity, external)


def _upstream(external: External, *, id_token: str | None = None) -> UpstreamSession:
    sid = external.claims.get("sid")
    return UpstreamSession(
        provider=external.provider,
        issuer=external.issuer,
        subject=external.subject,
        sid=sid if isinstance(sid, str) else None,
        id_token=id_token,
    )
