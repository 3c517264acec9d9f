"""What is sold, where carts live, the story of a visit, and the mails: stores, engines, providers, channels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from shopkeeper.app.ground import Foundation
from shopkeeper.app.hooks import build_hooks, no_hooks
from shopkeeper.app.people import People
from shopkeeper.commerce.embedded.engine import EmbeddedEngine
from shopkeeper.commerce.port import Engine, HasRetention
from shopkeeper.commerce.stores import Store, Stores
from shopkeeper.identity.changes import Listener
from shopkeeper.notify.courier import Courier
from shopkeeper.settings import Settings
from shopkeeper.signin.cart_merge import CartMerger
from shopkeeper.signin.completion import Hooks, SignInCompletion
from shopkeeper.signin.deferred_merge import DeferredMerges
from shopkeeper.signin.visit import Visit
from shopkeeper.storage.database import Unit
from shopkeeper.storage.upkeep import Chore
from shopkeeper.upstream.own import OwnProvider


def _embedded(ground: Foundation) -> Engine:
    return EmbeddedEngine(ground.clock, events=ground.outbox)


ENGINES: Mapping[str, Callable[[Foundation], Engine]] = {"embedded": _embedded}
"""Every engine there is, by the name that a store gives (`stores[].engine`)."""

MERGES_KEPT = timedelta(days=400)
"""How long a cart merge is kept at least. A guest's token that was renewed just before its end lasts for twice its
lifespan, and as long the guest must stay closed."""


@dataclass(frozen=True, slots=True)
class Shop:
    """What is sold, where carts live, and the story of a visit."""

    stores: Stores
    engines: Mapping[str, Engine]
    chores: Sequence[Chore]
    cart_merger: CartMerger
    merges: DeferredMerges
    completion: SignInCompletion
    visit: Visit
    courier: Courier


def build_shop(
    ground: Foundation, people: People, *, further_hooks: Callable[[Foundation, People], Hooks] = no_hooks
) -> Shop:
    stores = build_stores(ground.settings)
    engines = _engines(ground)
    merges = _deferred_merges(ground, people, stores, engines)
    people.on_deleted.extend([_forgetting(engines), merges.forget])
    cart_merger = CartMerger(stores=stores, engines=engines, deferred=merges)
    completion = SignInCompletion(
        database=ground.database,
        identities=people.identities,
        sessions=people.sessions,
        cart_merger=cart_merger,
        hooks=build_hooks(ground, people, further_hooks),
        audit=ground.audit,
    )
    visit = Visit(
        database=ground.database,
        providers={"own": OwnProvider(people.methods.password)},
        completion=completion,
        sessions=people.sessions,
        sealed=people.sealed,
        refresh_enabled=ground.settings.tokens.refresh.enabled,
    )
    guest_lifespan = ground.settings.tokens.anonymous.lifespan
    chores = [
        *(chore for engine in _tidy(engines) for chore in engine.chores(guest_lifespan=guest_lifespan)),
        Chore("mails", timedelta(days=30), people.courier.purge),
        Chore("cart merges", max(MERGES_KEPT, 2 * guest_lifespan), merges.purge),
    ]
    return Shop(
        stores=stores,
        engines=engines,
        chores=chores,
        cart_merger=cart_merger,
        merges=merges,
        completion=completion,
        visit=visit,
        courier=people.courier,
    )


def _deferred_merges(
    ground: Foundation, people: People, stores: Stores, engines: Mapping[str, Engine]
) -> DeferredMerges:
    return DeferredMerges(
        stores=stores,
        engines=engines,
        identities=people.identities,
        database=ground.database,
        outbox=ground.outbox,
        clock=ground.clock,
    )


def _engines(ground: Foundation) -> Mapping[str, Engine]:
    """The engines that stores live in."""
    return {name: ENGINES[name](ground) for name in {store.engine for store in ground.settings.stores}}


def _tidy(engines: Mapping[str, Engine]) -> Sequence[HasRetention]:
    return [engine for engine in engines.values() if isinstance(engine, HasRetention)]


def _forgetting(engines: Mapping[str, Engine]) -> Listener:
    """Deletes what the engines keep about a deleted identity, in the transaction that deletes it.

    Only engines that share the transaction are called: no other server may be called while it is open.
    """
    local = [engine for engine in engines.values() if engine.shares_transaction]

    async def forget(unit: Unit, identity_id: UUID) -> None:
        for engine in local:
            await engine.forget(unit, str(identity_id))

    return forget


def build_stores(settings: Settings) -> Stores:
    return Stores([Store(**store.model_dump()) for store in settings.stores], default=settings.default_store)
