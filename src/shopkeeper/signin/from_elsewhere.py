"""Signing in with a session that another server keeps: its token becomes the proof of a sign-in here."""

from typing import Final

from shopkeeper.client import Client
from shopkeeper.credentials.linked_providers import OIDC
from shopkeeper.credentials.steps import Proof, UpstreamSession
from shopkeeper.errors import InvalidInput
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.sessions.token_sources import External
from shopkeeper.signin.bound_sessions import BoundSessions
from shopkeeper.upstream.kratos_by_store import KratosSessionsByStore
from shopkeeper.upstream.provisioning import Provisioning

NOT_FOR_THIS_STORE: Final = "Signing in with another provider's token is not available for this store."


class SessionsFromElsewhere:
    """Proves identities by the tokens of session servers.

    Args:
        elsewhere: the sessions of the servers, by store.
        provisioning: finds and makes the identities of their subjects.
        bound: the sessions that were started so.
    """

    def __init__(self, elsewhere: KratosSessionsByStore, provisioning: Provisioning, bound: BoundSessions) -> None:
        self._elsewhere, self._provisioning = elsewhere, provisioning
        self.bound = bound

    async def prove(self, token: str, *, store: str, client: Client) -> Proof:
        """Return the proof of the identity that a token stands for; it may be made now. Never call it while a
        transaction is open.

        The session that is started with it ends with the one at the server.

        Raises:
            InvalidInput: no session server of the store has such tokens.
            TokenInvalid: the session has ended.
            SessionServerUnavailable: that is unknown.
            SubjectUnknown, IdentityDisabled: as in `Provisioning.identity_of`.
        """
        if not self._elsewhere.takes(token, store):
            raise InvalidInput(NOT_FOR_THIS_STORE)
        external = await self._elsewhere.verify(token, store)
        identity = await self._provisioning.identity_of(external, token=token, client=client)
        sid = external.claims.get("sid")
        return Proof(
            identity_id=identity.id,
            method=OIDC,
            aal=Aal.AAL2 if external.claims.get("acr") in {"aal2", "aal3"} else Aal.AAL1,
            still_valid=lambda known: self._still_linked(known, external),
            provider=external.provider,
            upstream=UpstreamSession(
                provider=external.provider,
                issuer=external.issuer,
                subject=external.subject,
                sid=sid if isinstance(sid, str) else None,
                id_token=token,
            ),
        )

    async def end(self, token: str, *, store: str) -> None:
        """Sign out the session of a token at its server, if a server of the store has such tokens. Raises
        `SessionServerUnavailable`."""
        await self._elsewhere.end(token, store)

    def _still_linked(self, identity: Identity, external: External) -> bool:
        return identity.active and self._provisioning.is_linked(identity, external)
