"""What a sign-in means to the engine: who signed in is its customer, and the cart of the guest they were is theirs.

What a merge does is said in `commerce/port.py`; who asks for which is said here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import structlog

from shopkeeper.commerce.port import Engine, HandOver, MergeMode, Outcome, Profile, Shopper
from shopkeeper.commerce.stores import Store, Stores
from shopkeeper.errors import NotYours, TokenInvalid
from shopkeeper.identity.names import names_of
from shopkeeper.identity.values import Identity
from shopkeeper.sessions.values import Session
from shopkeeper.storage.database import Unit

_NOBODY = ""
"""The id of no guest: who comes without a visit has no cart."""

log = structlog.get_logger("shopkeeper.visit")


@dataclass(frozen=True, slots=True)
class AuthHint:
    """What the client wants done with the guest's cart at sign-in.

    No `old_cart_id`: the guest's cart is ignored. `merge` true: merged into the customer's latest cart; false: it
    replaces that cart.
    """

    old_cart_id: str | None = None
    merge: bool = True


class CartMerger:
    """Makes customers of those who have signed in, in whichever store."""

    def __init__(self, *, stores: Stores, engines: Mapping[str, Engine]) -> None:
        self._stores = stores
        self._engines = engines

    async def __call__(
        self, unit: Unit, session: Session, *, guest: str | None, hint: AuthHint | None = None
    ) -> HandOver | None:
        """What became of the guest's cart. Without a hint it is merged, whichever it is.

        A cart must not stand between customers and their account: one that cannot be handed over is left alone, and the
        report says that it was refused, but not why. A name that a client has kept is often a stale one, or a former
        visitor's; and whoever guesses at names must not learn which of them exist.
        """
        if session.store is None:
            return None
        store = self._stores.require(session.store)
        customer = store.customer(str(session.identity.id))
        customers = self._engine(store).bind(unit, customer).customers
        if customers is not None:
            await customers.ensure(profile_of(session.identity))
        wish = hint or await self._current(unit, store, guest)
        try:
            return await self._as_wished(unit, store, customer, guest=guest, wish=wish)
        except (TokenInvalid, NotYours) as refused:
            log.warning("visit.cart_left_alone", code=refused.code, session_id=str(session.id))
            return await self._refused(unit, store, customer)

    async def _current(self, unit: Unit, store: Store, guest: str | None) -> AuthHint:
        cart = await self._engine(store).bind(unit, store.guest(guest)).carts.current() if guest else None
        return AuthHint(old_cart_id=cart.id if cart else None)

    async def _as_wished(
        self, unit: Unit, store: Store, customer: Shopper, *, guest: str | None, wish: AuthHint
    ) -> HandOver:
        """Without a guest there is no cart of theirs, whatever is named."""
        return await self._engine(store).merge_guest_cart(
            unit,
            guest=store.guest(guest or _NOBODY),
            customer=customer,
            cart_id=wish.old_cart_id if guest else None,
            mode=MergeMode.MERGE if wish.merge else MergeMode.REPLACE,
        )

    async def _refused(self, unit: Unit, store: Store, customer: Shopper) -> HandOver:
        nothing = await self._as_wished(unit, store, customer, guest=None, wish=AuthHint())
        return replace(nothing, outcome=Outcome.REFUSED)

    def _engine(self, store: Store) -> Engine:
        return self._engines[store.engine]


def profile_of(identity: Identity) -> Profile:
    """What an engine learns of an identity."""
    names = names_of(identity)
    return Profile(str(identity.id), identity.email, names.first, names.last)
