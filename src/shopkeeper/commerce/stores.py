"""Stores: the shop fronts this server serves, and which of them a request is for."""

from collections.abc import Sequence
from dataclasses import dataclass

from shopkeeper.commerce.port import Shopper, ShopperKind
from shopkeeper.errors import StoreUnknown


@dataclass(frozen=True, slots=True)
class Store:
    """One shop front: its names to the outside, where its identities and carts live, and its money."""

    id: str
    hosts: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    provider: str = "own"
    engine: str = "embedded"
    currency: str = "EUR"
    country: str | None = None
    locale: str = "en"

    def guest(self, guest_id: str) -> Shopper:
        """An anonymous shopper of this store."""
        return Shopper(ShopperKind.GUEST, guest_id, self.id, self.currency, self.country, self.locale)

    def customer(self, identity_id: str) -> Shopper:
        """A signed-in shopper of this store."""
        return Shopper(ShopperKind.CUSTOMER, identity_id, self.id, self.currency, self.country, self.locale)


class Stores:
    """Chooses the store: by name, else by host, else the default. A name that nobody configured is refused."""

    def __init__(self, stores: Sequence[Store], *, default: str) -> None:
        self._by_id = {store.id: store for store in stores}
        self._by_host = {host.lower(): store for store in stores for host in store.hosts}
        self._default = self._by_id[default]

    def require(self, store_id: str) -> Store:
        """A store by its id; raises `StoreUnknown`."""
        store = self._by_id.get(store_id)
        if store is None:
            raise StoreUnknown(f"There is no store called '{store_id[:64]}' here.")
        return store

    def choose(self, *, name: str | None, tenant: str | None, host: str | None) -> Store:
        """The store that a request is for. Empty names count as absent, as the published client sends them."""
        hosted = self._by_host.get((host or "").partition(":")[0].lower())
        store = self.require(name) if name else hosted or self._default
        if tenant and store.tenants and tenant not in store.tenants:
            raise StoreUnknown(f"The store '{store.id}' has no tenant called '{tenant[:64]}'.")
        if tenant and not store.tenants:
            raise StoreUnknown(f"The store '{store.id}' has no tenants; leave the tenant's header out.")
        return store
