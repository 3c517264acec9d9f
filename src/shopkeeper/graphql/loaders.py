"""Fetches for one request, gathered so that however many things ask for a variant, one query answers them all."""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import replace

from strawberry.dataloader import DataLoader

from shopkeeper.commerce.parts import require_catalogue
from shopkeeper.commerce.port import Category, Engine, Product, Shopper, Variant
from shopkeeper.storage.database import Unit

Sold = tuple[Product, Variant]
MOST_AT_ONCE = 200


class Loaders:
    """What the catalogue says, each thing fetched once in a request.

    A cart keeps its own currency, so variants are asked for by currency.
    """

    def __init__(self, engine: Engine, unit: Unit, shopper: Shopper) -> None:
        self._engine, self._unit, self._shopper = engine, unit, shopper
        self._variants: dict[str, DataLoader[str, Sold | None]] = {}
        self._products = DataLoader(self._load_products, max_batch_size=MOST_AT_ONCE)
        self._categories = DataLoader(self._load_categories)

    def product(self, id_: str) -> Awaitable[Product | None]:
        """A product by id or slug."""
        return self._products.load(id_)

    async def variants(self, ids: Iterable[str], *, currency: str) -> Mapping[str, Sold]:
        """Variants by id with their products, priced in a currency; those that are not sold in it are left out.

        An engine without a catalogue has none: a line that was written to must not be refused when it is shown.
        """
        if self._engine.catalogue is None:
            return {}
        wanted = list(dict.fromkeys(ids))
        found = await self._in(currency).load_many(wanted)
        return {id_: sold for id_, sold in zip(wanted, found, strict=True) if sold is not None}

    async def categories(self) -> Mapping[str, Category]:
        """Every category by id, parents before children."""
        return await self._categories.load(None)

    def forget(self) -> None:
        """Fetches everything anew from here on."""
        self._variants.clear()
        self._products.clear_all()
        self._categories.clear_all()

    def _in(self, currency: str) -> DataLoader[str, Sold | None]:
        if currency not in self._variants:
            shopper = replace(self._shopper, currency=currency)

            async def load(ids: list[str]) -> Sequence[Sold | None]:
                found = await require_catalogue(self._engine).variants(self._unit, shopper, ids)
                return [found.get(id_) for id_ in ids]

            self._variants[currency] = DataLoader(load, max_batch_size=MOST_AT_ONCE)
        return self._variants[currency]

    async def _load_products(self, ids: list[str]) -> Sequence[Product | None]:
        found = await require_catalogue(self._engine).products(self._unit, self._shopper, ids)
        return [found.get(id_) for id_ in ids]

    async def _load_categories(self, shelves: list[None]) -> Sequence[Mapping[str, Category]]:
        catalogue = require_catalogue(self._engine)
        found = {category.id: category for category in await catalogue.categories(self._unit, self._shopper)}
        return [found for _ in shelves]
