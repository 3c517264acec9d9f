"""Batched reads for one operation: one query for all fields that read a variant, a product or a category."""

from collections.abc import Awaitable, Iterable, Mapping, Sequence

from strawberry.dataloader import DataLoader

from shopkeeper.commerce.port import Category, EngineSession, Product, Variant, require_catalogue

Sold = tuple[Product, Variant]
MOST_AT_ONCE = 200


class Loaders:
    """Reads each catalogue object once in an operation.

    Variants are read by currency, because a cart keeps its own.
    """

    def __init__(self, session: EngineSession) -> None:
        self._session = session
        self._variants: dict[str, DataLoader[str, Sold | None]] = {}
        self._products = DataLoader(self._load_products, max_batch_size=MOST_AT_ONCE)
        self._categories = DataLoader(self._load_categories)

    def product(self, id_: str) -> Awaitable[Product | None]:
        """Return a product by id or slug."""
        return self._products.load(id_)

    async def variants(self, ids: Iterable[str], *, currency: str) -> Mapping[str, Sold]:
        """Return variants by id with their products, priced in a currency, without those that are not sold in it.

        The result is empty for an engine without a catalogue: a mutation that has changed a line must not fail when it
        is shown.
        """
        if self._session.catalogue is None:
            return {}
        wanted = list(dict.fromkeys(ids))
        found = await self._in(currency).load_many(wanted)
        return {id_: sold for id_, sold in zip(wanted, found, strict=True) if sold is not None}

    async def categories(self) -> Mapping[str, Category]:
        """Return every category by id, parents before children."""
        return await self._categories.load(None)

    def forget(self) -> None:
        """Discard what was read, so that it is fetched again."""
        self._variants.clear()
        self._products.clear_all()
        self._categories.clear_all()

    def _in(self, currency: str) -> DataLoader[str, Sold | None]:
        if currency not in self._variants:

            async def load(ids: list[str]) -> Sequence[Sold | None]:
                found = await require_catalogue(self._session).variants(ids, currency)
                return [found.get(id_) for id_ in ids]

            self._variants[currency] = DataLoader(load, max_batch_size=MOST_AT_ONCE)
        return self._variants[currency]

    async def _load_products(self, ids: list[str]) -> Sequence[Product | None]:
        found = await require_catalogue(self._session).products(ids)
        return [found.get(id_) for id_ in ids]

    async def _load_categories(self, shelves: list[None]) -> Sequence[Mapping[str, Category]]:
        catalogue = require_catalogue(self._session)
        found = {category.id: category for category in await catalogue.categories()}
        return [found for _ in shelves]
