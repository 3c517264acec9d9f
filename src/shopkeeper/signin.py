"""The story of a visit: anonymous -> signed in, with the cart -> refreshed -> signed out and anonymous again.

Every token that is given out here is new; the one it replaces is dead, or dies after the replay window. What the
hand-over of a cart means is said in `commerce/port.py`; when it happens is said here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from shopkeeper.commerce.port import Engine, HandOver, MergeMode, Outcome, Profile
from shopkeeper.commerce.stores import Store, Stores
from shopkeeper.errors import Forbidden, NotYours, TokenInvalid
from shopkeeper.identity.values import Client, Identity
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.values import Principal, PrincipalKind, Session
from shopkeeper.storage.database import Unit
from shopkeeper.tokens.sealed import SealedTokens
from shopkeeper.upstream.own import OwnProvider

log = structlog.get_logger("shopkeeper.visit")


@dataclass(frozen=True, slots=True)
class AuthHint:
    """What the client wants done with the guest's cart at sign-in.

    No `old_cart_id`: the guest's cart is ignored. `merge` true: merged into the customer's latest cart; false: it
    replaces that cart.
    """

    old_cart_id: str | None = None
    merge: bool = True


@dataclass(frozen=True, slots=True)
class Access:
    """What a visitor may go on with: a token, until when, and as whom."""

    token: str
    expires_at: datetime
    session: Session | None = None
    hand_over: HandOver | None = None


class Visit:
    """Anonymous sign-in, customer sign-in, refresh and sign-out, for every store."""

    def __init__(
        self,
        *,
        stores: Stores,
        providers: Mapping[str, OwnProvider],
        engines: Mapping[str, Engine],
        sessions: Sessions,
        sealed: SealedTokens,
        refresh_enabled: bool,
    ) -> None:
        self._stores = stores
        self._providers = providers
        self._engines = engines
        self._sessions = sessions
        self._sealed = sealed
        self._refresh_enabled = refresh_enabled

    def anonymous(self, store: Store, *, tenant: str | None = None, guest: str | None = None) -> Access:
        """An anonymous visit, or the same one with a fresh token. Writes nothing anywhere."""
        issued = self._sealed.issue(store=store.id, tenant=tenant, guest=UUID(guest) if guest else None)
        return Access(token=issued.text, expires_at=issued.visit.expires_at)

    async def sign_in(
        self,
        unit: Unit,
        *,
        store: Store,
        username: str,
        password: str,
        hint: AuthHint,
        visitor: Principal,
        client: Client,
    ) -> Access:
        """Signs a customer in and hands the guest's cart over, all or nothing.

        Somebody who is signed in already starts afresh: the old session ends and its cart stays with its customer.
        Raises `InvalidCredentials`, `NotYours` for a cart that is not the visitor's, `TooManyRequests`, `Busy`.
        """
        proof = await self._providers[store.provider].authenticate(
            unit, username=username, password=password, client=client
        )
        await self._ensure_customer(unit, store, proof.identity)
        report = await self._hand_over(unit, store, proof.identity, hint=hint, guest=_guest_of(visitor))
        started = await self._sessions.start(
            unit,
            proof.identity,
            method=proof.method,
            aal=proof.aal,
            client=client,
            store=store.id,
            replacing=visitor.session,
        )
        return Access(started.token, started.session.expires_at, started.session, report)

    async def signed_in(self, unit: Unit, *, session: Session, guest: str | None) -> HandOver | None:
        """The same hand-over for somebody who signed in or registered through a self-service flow: merged, always.

        A cart must not stand between a customer and their account: one that cannot be handed over is left alone.
        """
        if session.store is None:
            return None
        store = self._stores.require(session.store)
        await self._ensure_customer(unit, store, session.identity)
        cart = await self._engine(store).carts.current(unit, store.guest(guest)) if guest else None
        hint = AuthHint(old_cart_id=cart.id if cart else None)
        try:
            return await self._hand_over(unit, store, session.identity, hint=hint, guest=guest)
        except (TokenInvalid, NotYours) as refused:
            log.warning("visit.cart_left_alone", code=refused.code, session_id=str(session.id))
            return None

    async def sign_out(self, unit: Unit, *, store: Store, tenant: str | None, visitor: Principal) -> Access:
        """Ends the customer's session and begins a new anonymous visit."""
        if visitor.session is not None:
            await self._sessions.revoke(unit, visitor.session.id, by=visitor.subject, client=visitor.client)
        return self.anonymous(store, tenant=tenant)

    async def refresh(self, *, store: Store, tenant: str | None, token: str | None) -> Access:
        """A successor for a token; an anonymous one goes on as the same guest. A unit of work of its own.

        Raises `Forbidden` while refreshing is switched off, `TokenInvalid` for a token that cannot be refreshed.
        """
        if not self._refresh_enabled:
            raise Forbidden("Refreshing tokens is switched off here (tokens.refresh.enabled); sign in again.")
        if not token:
            raise TokenInvalid
        if not self._sessions.is_ours(token):
            renewed = self._sealed.renew(token, store=store.id, tenant=tenant)
            return Access(renewed.text, renewed.visit.expires_at)
        refreshed = await self._sessions.refresh(token, store=store.id)
        return Access(refreshed.token, refreshed.session.expires_at, refreshed.session)

    async def _hand_over(
        self, unit: Unit, store: Store, identity: Identity, *, hint: AuthHint, guest: str | None
    ) -> HandOver:
        if hint.old_cart_id is None or guest is None:
            return HandOver(Outcome.NOTHING, None)
        return await self._engine(store).carts.hand_over(
            unit,
            guest=store.guest(guest),
            customer=store.customer(str(identity.id)),
            cart_id=hint.old_cart_id,
            mode=MergeMode.MERGE if hint.merge else MergeMode.REPLACE,
        )

    async def _ensure_customer(self, unit: Unit, store: Store, identity: Identity) -> None:
        shopper = store.customer(str(identity.id))
        await self._engine(store).customers.ensure(unit, shopper, profile_of(identity))

    def _engine(self, store: Store) -> Engine:
        return self._engines[store.engine]


def profile_of(identity: Identity) -> Profile:
    """What an engine learns of an identity."""
    name = identity.traits.get("name")
    first, last = (name.get("first"), name.get("last")) if isinstance(name, Mapping) else (None, None)
    return Profile(str(identity.id), identity.email, first, last)


def _guest_of(visitor: Principal) -> str | None:
    return visitor.subject if visitor.kind is PrincipalKind.ANONYMOUS else None
