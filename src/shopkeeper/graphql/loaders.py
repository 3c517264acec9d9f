"""Batched reads for one operation: one query for all fields that read a variant, a product or a category."""

from collections.abc import Awaitable, Iterable, Mapping, Sequence

from strawberry.dataloader import DataLoader

from shopkeeper.commerce.port import Category, EngineSession, Product, Variant, require_catalogue

Sold = tuple[Product, Variant]
MOST_AT_ONCE = 200


class Loaders:
    """Reads each catalogue object once in an operation.

    Variants are read by currency, because a cart keeps its own. Those of a cart are read together, so they need no
    batch; products and categories are batched over the fields that ask for them.
    """

    def __init__(self, session: EngineSession) -> None:
        self._session = session
        self._variants: dict[str, dict[str, Sold | None]] = {}
        self._products: DataLoader[str, Product | None] | None = None
        self._categories: DataLoader[None, Mapping[str, Category]] | None = None

    def product(self, id_: str) -> Awaitable[Product | None]:
        """Return a product by id or slug."""
        if self._products is None:
            self._products = DataLoader(self._load_products, max_batch_size=MOST_AT_ONCE)
        return self._products.load(id_)

    async def variants(self, ids: Iterable[str], *, currency: str) -> Mapping[str, Sold]:
        """Return variants by id with their products, priced in a currency, without those that are not sold in it.

        The result is empty for an engine without a catalogue: a mutation that has changed a line must not fail when it
        is shown.
        """
        if self._session.catalogue is None:
            return {}
        wanted = list(dict.fromkeys(ids))
        known = self._variants.setdefault(currency, {})
        unknown = [id_ for id_ in wanted if id_ not in known]
        for start in range(0, len(unknown), MOST_AT_ONCE):
            some = unknown[start : start + MOST_AT_ONCE]
            found = await require_catalogue(self._session).variants(some, currency)
            known.update({id_: found.get(id_) for id_ in some})
        return {id_: sold for id_ in wanted if (sold := known[id_]) is not None}

    async def categories(self) -> Mapping[str, Category]:
        """Return every category by id, parents before children."""
        if self._categories is None:
            self._categories = DataLoader(self._load_categories)
        return await self._categories.load(None)

    def forget(self) -> None:
        """Discard what was read, so that it is fetched again."""
        self._variants, self._products, self._categories = {}, None, None

    async def _load_products(self, ids: list[str]) -> Sequence[Product | None]:
        found = await require_catalogue(self._session).products(ids)
        return [found.get(id_) for id_ in ids]

    async def _load_categories(self, shelves: list[None]) -> Sequence[Mapping[str, Category]]:
        catalogue = require_catalogue(self._session)
        found = {category.id: category for category in await catalogue.categories()}
        return [found for _ in shelves]
