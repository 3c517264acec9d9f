"""What a sign-in means to the engine: who signed in is its customer, and the cart of the guest they were is theirs.

What a hand-over does is said in `commerce/port.py`; who asks for which is said here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from shopkeeper.commerce.port import Engine, HandOver, MergeMode, Outcome, Profile
from shopkeeper.commerce.stores import Store, Stores
from shopkeeper.errors import NotYours, TokenInvalid
from shopkeeper.identity.values import Identity
from shopkeeper.sessions.values import Session
from shopkeeper.storage.database import Unit

log = structlog.get_logger("shopkeeper.visit")


@dataclass(frozen=True, slots=True)
class AuthHint:
    """What the client wants done with the guest's cart at sign-in.

    No `old_cart_id`: the guest's cart is ignored. `merge` true: merged into the customer's latest cart; false: it
    replaces that cart.
    """

    old_cart_id: str | None = None
    merge: bool = True


class HandingOver:
    """Makes customers of those who have signed in, in whichever store."""

    def __init__(self, *, stores: Stores, engines: Mapping[str, Engine]) -> None:
        self._stores = stores
        self._engines = engines

    async def __call__(
        self, unit: Unit, session: Session, *, guest: str | None, hint: AuthHint | None = None
    ) -> HandOver | None:
        """What became of the guest's cart. Without a hint it is merged, whichever it is.

        Raises `NotYours` or `TokenInvalid` for a cart that a hint names and that is not this guest's.
        """
        if session.store is None:
            return None
        store = self._stores.require(session.store)
        shopper = store.customer(str(session.identity.id))
        await self._engine(store).customers.ensure(unit, shopper, profile_of(session.identity))
        if hint is not None:
            return await self._as_wished(unit, store, session.identity, guest=guest, hint=hint)
        return await self._whichever_it_is(unit, store, session, guest=guest)

    async def _whichever_it_is(
        self, unit: Unit, store: Store, session: Session, *, guest: str | None
    ) -> HandOver | None:
        """A cart that nobody named must not stand between customers and their account: if it cannot be handed over, it
        is left alone."""
        cart = await self._engine(store).carts.current(unit, store.guest(guest)) if guest else None
        hint = AuthHint(old_cart_id=cart.id if cart else None)
        try:
            return await self._as_wished(unit, store, session.identity, guest=guest, hint=hint)
        except (TokenInvalid, NotYours) as refused:
            log.warning("visit.cart_left_alone", code=refused.code, session_id=str(session.id))
            return None

    async def _as_wished(
        self, unit: Unit, store: Store, identity: Identity, *, guest: str | None, hint: AuthHint
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

    def _engine(self, store: Store) -> Engine:
        return self._engines[store.engine]


def profile_of(identity: Identity) -> Profile:
    """What an engine learns of an identity."""
    name = identity.traits.get("name")
    first, last = (name.get("first"), name.get("last")) if isinstance(name, Mapping) else (None, None)
    return Profile(str(identity.id), identity.email, first, last)
