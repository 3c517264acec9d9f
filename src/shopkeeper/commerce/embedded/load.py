"""Load a catalogue into a store.

Loading again updates names, prices and categories. It leaves the stock alone, because the stock is what is left after
sales. A variant that is missing from the file loses its prices, so it is no longer sold, but stays for the carts that
contain it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import Table, delete, insert, select, text

from shopkeeper.commerce.embedded.demo import Catalogue, DemoProduct, DemoVariant
from shopkeeper.commerce.embedded.search import document, fold
from shopkeeper.commerce.embedded.store import categories, insert_or, prices, product_categories, products, variants
from shopkeeper.storage.database import Unit

Rows = list[dict[str, Any]]


async def load(unit: Unit, *, store: str, catalogue: Catalogue) -> None:
    """Load a catalogue in the caller's unit of work.

    >>> async with database.unit() as unit:  # doctest: +SKIP
    ...     await load(unit, store="default", catalogue=read_catalogue())
    """
    loaded = [product.id for product in catalogue.products]
    of_loaded = select(variants.c.id).where(variants.c.store == store, variants.c.product_id.in_(loaded))
    await _upsert(unit, categories, _categories(store, catalogue))
    await _upsert(unit, products, _products(store, catalogue))
    await _upsert(unit, variants, _variants(store, catalogue), keep=("stock",))
    await unit.write(delete(prices).where(prices.c.store == store, prices.c.variant_id.in_(of_loaded)))
    await _insert(unit, prices, list(_prices(store, catalogue)))
    shelf = product_categories.c
    await unit.write(delete(product_categories).where(shelf.store == store, shelf.product_id.in_(loaded)))
    await _insert(unit, product_categories, _shelves(store, catalogue))
    if unit.dialect == "postgresql":
        # Until autovacuum runs, PostgreSQL plans for the empty tables that it saw last, and a page takes seconds.
        await unit.write(text("ANALYZE shop_products, shop_product_categories, shop_variants, shop_prices"))


async def _insert(unit: Unit, table: Table, rows: Rows) -> None:
    if rows:
        await unit.write(insert(table), rows)


async def _upsert(unit: Unit, table: Table, rows: Rows, *, keep: tuple[str, ...] = ()) -> None:
    """Insert rows, or update all columns but the key and those in `keep`."""
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    statement = insert_or(unit, table)
    fresh = {name: statement.excluded[name] for name in rows[0] if name not in keys and name not in keep}
    await unit.write(statement.on_conflict_do_update(index_elements=keys, set_=fresh), rows)


def _categories(store: str, catalogue: Catalogue) -> Rows:
    return [
        {
            "store": store,
            "id": category.id,
            "slug": category.id,
            "name": category.name,
            "description": category.description,
            "parent_id": None,
            "picture": category.cover,
            "position": position,
        }
        for position, category in enumerate(catalogue.categories)
    ]


def _products(store: str, catalogue: Catalogue) -> Rows:
    return [
        {
            "store": store,
            "id": product.id,
            "slug": product.id,
            "name": product.name,
            "description": product.description,
            "picture": product.id,
            "picture_alt": product.alt,
            "attributes": dict(product.attributes),
            "search_name": fold(product.name),
            "search_text": document(_words(product)),
            "position": position,
        }
        for position, product in enumerate(catalogue.products)
    ]


def _variants(store: str, catalogue: Catalogue) -> Rows:
    return [
        {
            "store": store,
            "id": variant.sku,
            "product_id": product.id,
            "sku": variant.sku,
            "name": variant.name,
            "attributes": dict(variant.attributes),
            "stock": variant.stock,
            "position": position,
        }
        for product in catalogue.products
        for position, variant in enumerate(product.variants)
    ]


def _prices(store: str, catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    for product in catalogue.products:
        for variant in product.variants:
            for currency, amount in variant.price.items():
                yield {
                    "store": store,
                    "variant_id": variant.sku,
                    "currency": currency,
                    "amount": _minor(amount),
                    "list_amount": _minor(_list_price(variant).get(currency, amount)),
                }


def _shelves(store: str, catalogue: Catalogue) -> Rows:
    return [
        {"store": store, "product_id": product.id, "category_id": product.category} for product in catalogue.products
    ]


def _words(product: DemoProduct) -> Iterable[str]:
    skus = (variant.sku for variant in product.variants)
    return (product.name, product.description, *product.keywords, *skus)


def _list_price(variant: DemoVariant) -> Mapping[str, int]:
    return variant.list_price or {}


def _minor(amount: int) -> int:
    """Return an amount in minor units. Raises for a fraction, because a mistake in a data file must not be rounded
    away."""
    if type(amount) is not int or not 0 <= amount <= 10**12:
        raise ValueError(f"{amount!r} is not an amount in minor units")
    return amount
