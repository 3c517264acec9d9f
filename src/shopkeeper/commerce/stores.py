"""Stores: the shop fronts that this server serves, and the choice of the one that a request is for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from shopkeeper.commerce.port import Shopper, ShopperKind
from shopkeeper.errors import StoreUnknown

OWN = "own"
"""The provider of stores whose customers' identities are this server's."""
STORE, TENANT = "store", "tenant"
"""The query parameters that name a store: a browser that opens a page sends no custom headers."""


@dataclass(frozen=True, slots=True)
class Store:
    """One shop front: its identities, carts and currency.

    Everything that belongs to a front is stored under its `id`: the store's name, and where the store has tenants, the
    tenant's name as well (`quince@eu`). So tenants share nothing, without code of their own.
    """

    id: str
    hosts: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    provider: str = OWN
    engine: str = "embedded"
    currency: str = "EUR"
    country: str | None = None
    locale: str = "en"
    project_key: str | None = None
    store_key: str | None = None

    def fronts(self) -> "Mapping[str, Store]":
        """Return the store's fronts by tenant; the first one is used where none is named.

        >>> [front.id for front in Store("quince", tenants=("eu", "us")).fronts().values()]
        ['quince@eu', 'quince@us']
        >>> [front.id for front in Store("kettle").fronts().values()]
        ['kettle']
        """
        if not self.tenants:
            return {"": self}
        return {tenant: replace(self, id=f"{self.id}@{tenant}", tenants=()) for tenant in self.tenants}

    def guest(self, guest_id: str) -> Shopper:
        """Return a guest of this store."""
        return Shopper(ShopperKind.GUEST, guest_id, self.id, self.currency, self.country, self.locale)

    def customer(self, identity_id: str) -> Shopper:
        """Return a customer of this store."""
        return Shopper(ShopperKind.CUSTOMER, identity_id, self.id, self.currency, self.country, self.locale)


class Stores:
    """Chooses the front: by name, else by host, else the default. An unknown name is refused."""

    def __init__(self, stores: Sequence[Store], *, default: str) -> None:
        self._fronts = {store.id: store.fronts() for store in stores}
        self._by_id = {front.id: front for fronts in self._fronts.values() for front in fronts.values()}
        self._by_host = {host.lower(): store.id for store in stores for host in store.hosts}
        self._default = default

    @property
    def fronts(self) -> Sequence[Store]:
        """Every configured front."""
        return tuple(self._by_id.values())

    @property
    def default(self) -> Store:
        """The front of requests that name none."""
        return self.choose(name=None, tenant=None, host=None)

    def names_of(self, front_id: str) -> tuple[str, str]:
        """Return the store and the tenant that a request must name to reach a front; both are empty for the default
        front.

        >>> stores = Stores([Store("quince", tenants=("eu", "us")), Store("kettle")], default="kettle")
        >>> [stores.names_of(front) for front in ("quince@us", "kettle")]
        [('quince', 'us'), ('', '')]
        """
        if front_id == self.default.id:
            return "", ""
        name, _, tenant = front_id.partition("@")
        return name, tenant

    def require(self, front_id: str) -> Store:
        """Return a front by its id. Raises `StoreUnknown`."""
        front = self._by_id.get(front_id)
        if front is None:
            raise StoreUnknown(f"There is no store called '{front_id[:64]}' here.")
        return front

    def find(self, front_id: str) -> Store | None:
        """Return a front by its id, or None where it is not configured any more."""
        return self._by_id.get(front_id)

    def named(self, *, name: str | None, tenant: str | None, host: str | None) -> Store | None:
        """Return the front that a request names by store, tenant or host; None where it names none. Raises
        `StoreUnknown`."""
        if not (name or tenant or self._hosted(host)):
            return None
        return self.choose(name=name, tenant=tenant, host=host)

    def choose(self, *, name: str | None, tenant: str | None, host: str | None) -> Store:
        """Return the front that a request is for. Raises `StoreUnknown`.

        Empty names count as absent, and without a tenant the store's first one is chosen: the published client leaves
        the tenant's name empty when it starts again after a failed refresh, and that must not be an error.
        """
        store = name or self._hosted(host) or self._default
        fronts = self._fronts.get(store)
        if fronts is None:
            raise StoreUnknown(f"There is no store called '{store[:64]}' here.")
        if not tenant:
            return next(iter(fronts.values()))
        if "" in fronts:
            raise StoreUnknown(f"The store '{store}' has no tenants; name none.")
        if tenant not in fronts:
            raise StoreUnknown(f"The store '{store}' has no tenant called '{tenant[:64]}'.")
        return fronts[tenant]

    def _hosted(self, host: str | None) -> str | None:
        if not self._by_host:
            return None
        return self._by_host.get((host or "").partition(":")[0].rstrip(".").lower())
