"""A visit: anonymous -> signed in, with the cart -> refreshed -> signed out and anonymous again.

Every token that is issued here is new; the one it replaces is dead, or dies after the replay window. A sign-in is
completed in `signin/completion.py`, for all routes alike.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from shopkeeper.client import Client
from shopkeeper.commerce.port import CartMergeReport
from shopkeeper.commerce.stores import Store
from shopkeeper.credentials.steps import Proof, Unverified
from shopkeeper.errors import Forbidden, InvalidInput, TokenInvalid, UpstreamFailed
from shopkeeper.sessions import impersonation_store
from shopkeeper.sessions.acting import Acting
from shopkeeper.sessions.principal import ServerCookie
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.values import Principal, PrincipalKind, Session
from shopkeeper.signin.cart_merge import AuthHint
from shopkeeper.signin.completion import SignInCompletion, SignInRequest
from shopkeeper.signin.from_elsewhere import NOT_FOR_THIS_STORE, SignInFromElsewhere
from shopkeeper.storage.database import Database, Unit
from shopkeeper.tokens.sealed import SealedTokens
from shopkeeper.upstream.port import PasswordProvider

log = structlog.get_logger("shopkeeper.visit")


@dataclass(frozen=True, slots=True)
class Access:
    """A token, its expiry, and the session that it belongs to, if any."""

    token: str
    expires_at: datetime
    session: Session | None = None
    cart_merge: CartMergeReport | None = None


class Visit:
    """Anonymous sign-in, customer sign-in, refresh and sign-out, for every store."""

    def __init__(
        self,
        *,
        database: Database,
        providers: Mapping[str, PasswordProvider],
        completion: SignInCompletion,
        sessions: Sessions,
        sealed: SealedTokens,
        refresh_enabled: bool,
        acting: Acting | None = None,
        elsewhere: SignInFromElsewhere | None = None,
    ) -> None:
        self._database = database
        self._providers = providers
        self._completion = completion
        self._sessions = sessions
        self._sealed = sealed
        self._refresh_enabled = refresh_enabled
        self._acting = acting
        self._elsewhere = elsewhere

    def anonymous(self, store: Store, *, guest: str | None = None) -> Access:
        """Start an anonymous visit, or continue one with a fresh token. Writes nothing."""
        issued = self._sealed.issue(store=store.id, guest=UUID(guest) if guest else None)
        return Access(token=issued.text, expires_at=issued.visit.expires_at)

    async def sign_in(
        self,
        *,
        store: Store,
        username: str,
        password: str,
        hint: AuthHint,
        visitor: Principal,
        former: Session | None,
        client: Client,
        language: str,
        wished_language: str | None = None,
    ) -> Access:
        """Sign a customer in and merge the guest's cart. A cart that is not the visitor's is left alone.

        The caller's `former` session ends, and its cart stays with its customer. Never call it while a transaction is
        open. `language` is that of mails; `wished_language` the one that the customer has chosen or asks for, which is
        kept with the session. Raises `InvalidCredentials`, `IdentityDisabled`, `TooManyRequests`,
        `Busy`.
        """
        async with self._database.reading() as unit:
            proof = await self._providers[store.provider].authenticate(
                unit, username=username, password=password, client=client
            )
        request = SignInRequest(
            flow="login",
            store=store.id,
            client=client,
            replacing=former,
            guest=_guest_of(visitor),
            hint=hint,
            locale=language,
            wished_language=wished_language,
        )
        if isinstance(proof, Unverified):
            raise (await self._completion.require_verification(proof, request, in_form=False)).error
        return await self._signed_in(proof, request)

    async def sign_in_by_token(
        self,
        *,
        store: Store,
        token: str,
        hint: AuthHint,
        visitor: Principal,
        former: Session | None,
        client: Client,
        language: str,
        wished_language: str | None = None,
    ) -> Access:
        """Sign in as `sign_in` does, with a token of the store's provider: of a session that it keeps, or an access
        token. The session that is started ends with that one.

        Raises what `SignInFromElsewhere.prove` raises.
        """
        if self._elsewhere is None:
            raise InvalidInput(NOT_FOR_THIS_STORE)
        proof = await self._elsewhere.prove(token, store=store.id, client=client)
        request = SignInRequest(
            flow="login",
            store=store.id,
            client=client,
            replacing=former,
            guest=_guest_of(visitor),
            hint=hint,
            locale=language,
            wished_language=wished_language,
        )
        return await self._signed_in(proof, request)

    async def _signed_in(self, proof: Proof, request: SignInRequest) -> Access:
        signed_in = await self._completion.sign_in(proof, request)
        return Access(signed_in.token or "", signed_in.session.expires_at, signed_in.session, signed_in.cart_merge)

    async def sign_out_elsewhere(
        self, *, store: Store, sessions: Iterable[Session], token: str | None, cookie: ServerCookie | None
    ) -> None:
        """End the sessions at session servers: those that ours are bound to, that of a token, and that of a cookie.
        Call it before `sign_out`, outside of a transaction. Where a server does not answer, its session goes on there.
        """
        if self._elsewhere is None:
            return
        try:
            if self._elsewhere.bound is not None:
                for session in sessions:
                    await self._elsewhere.bound.end_there(session)
            if token is not None:
                await self._elsewhere.end(token, store=store.id)
            if cookie is not None:
                await self._elsewhere.end_cookie(cookie)
        except UpstreamFailed as failed:
            log.warning("visit.session_goes_on_elsewhere", reason=failed.detail)

    async def sign_out(
        self, unit: Unit, *, store: Store, sessions: Iterable[Session], client: Client, visitor: Principal
    ) -> Access:
        """End the customer's sessions in this browser and start a new anonymous visit.

        An agent who acts as a guest ends that.
        """
        if self._acting is not None and visitor.impersonation is not None and visitor.session is None:
            await self._acting.end(unit, impersonation_store.with_id(visitor.impersonation))
        for session in {session.id: session for session in sessions}.values():
            await self._sessions.revoke(unit, session.id, by=str(session.identity.id), client=client)
        return self.anonymous(store)

    async def refresh(self, *, store: Store, token: str | None, client: Client) -> Access:
        """Issue a successor for a token, in a unit of work of its own; an anonymous one continues as the same guest.

        Raises `Forbidden` while refreshing is disabled, and for a token that cannot be refreshed: this is the only
        refusal after which the published client starts again.
        """
        if not self._refresh_enabled:
            raise Forbidden("Refreshing tokens is switched off here (tokens.refresh.enabled); sign in again.")
        try:
            return await self._successor(token or "", store, client)
        except TokenInvalid as invalid:
            raise Forbidden("This token cannot be refreshed any more: begin anew, without it.") from invalid

    async def _successor(self, token: str, store: Store, client: Client) -> Access:
        if not self._sessions.is_ours(token):
            renewed = self._sealed.renew(token, store=store.id)
            return Access(renewed.text, renewed.visit.expires_at)
        bound = self._elsewhere.bound if self._elsewhere is not None else None
        if bound is not None:
            cached = await self._sessions.resolve(token)
            if cached is not None and not await bound.goes_on(cached):
                raise TokenInvalid
        refreshed = await self._sessions.refresh(token, store=store.id, client=client)
        return Access(refreshed.token, refreshed.session.expires_at, refreshed.session)


def _guest_of(visitor: Principal) -> str | None:
    return visitor.subject if visitor.kind is PrincipalKind.ANONYMOUS else None
