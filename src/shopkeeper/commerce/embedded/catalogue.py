"""Products and categories of the embedded shop. Every call takes the same few queries, however much it finds."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, exists, func, or_, select

from shopkeeper.commerce.embedded.paging import turn
from shopkeeper.commerce.embedded.search import matches, phrase_of, rank
from shopkeeper.commerce.embedded.store import categories, prices, product_categories, products, storable, variants
from shopkeeper.commerce.port import Category, Money, Page, Product, Shopper, Sort, Variant
from shopkeeper.errors import InvalidInput
from shopkeeper.storage.database import Unit

MAX_IDS = 500

PRODUCT = (
    products.c.id,
    products.c.slug,
    products.c.name,
    products.c.description,
    products.c.picture,
    products.c.picture_alt,
    products.c.attributes,
)


class EmbeddedCatalogue:
    """Satisfies `Catalogue`."""

    async def find_products(
        self,
        unit: Unit,
        shopper: Shopper,
        *,
        text: str | None = None,
        category_id: str | None = None,
        sort: Sort = Sort.RELEVANCE,
        offset: int = 0,
        limit: int = 20,
    ) -> Page[Product]:
        phrase = phrase_of(text)
        found = _found(shopper, phrase=phrase, category_id=category_id)
        page = await turn(unit, found, order=ORDERS[sort](shopper, phrase), offset=offset, limit=limit)
        return Page(await _with_variants(unit, shopper, page.rows), cursor=page.cursor, total=page.total)

    async def products(self, unit: Unit, shopper: Shopper, ids: Sequence[str]) -> Mapping[str, Product]:
        wanted = _wanted(ids)
        rows = await unit.all(_sold(shopper).where(or_(products.c.id.in_(wanted), products.c.slug.in_(wanted))))
        found = await _with_variants(unit, shopper, rows)
        named = {product.slug: product for product in found} | {product.id: product for product in found}
        return {name: named[name] for name in wanted if name in named}

    async def variants(self, unit: Unit, shopper: Shopper, ids: Sequence[str]) -> Mapping[str, tuple[Product, Variant]]:
        wanted = _wanted(ids)
        of = select(variants.c.product_id).where(
            variants.c.store == shopper.store, or_(variants.c.id.in_(wanted), variants.c.sku.in_(wanted))
        )
        rows = await unit.all(_sold(shopper).where(products.c.id.in_(of)))
        found = [
            (product, variant) for product in await _with_variants(unit, shopper, rows) for variant in product.variants
        ]
        named = {pair[1].sku: pair for pair in found} | {pair[1].id: pair for pair in found}
        return {name: named[name] for name in wanted if name in named}

    async def categories(self, unit: Unit, shopper: Shopper) -> Sequence[Category]:
        rows = await unit.all(
            select(categories)
            .where(categories.c.store == shopper.store)
            .order_by(categories.c.position, categories.c.id)
        )
        return _parents_first([_category(row) for row in rows])


# -- which products ----------------------------------------------------------------------------------------------------


def _priced(shopper: Shopper) -> ColumnElement[bool]:
    """Joins a price in the shopper's currency to a variant."""
    return and_(
        prices.c.store == variants.c.store,
        prices.c.variant_id == variants.c.id,
        prices.c.currency == shopper.currency,
    )


def _sold(shopper: Shopper) -> Select[Any]:
    """Products with a price in the shopper's currency."""
    of_product = and_(variants.c.store == products.c.store, variants.c.product_id == products.c.id)
    priced = exists().select_from(variants.join(prices, _priced(shopper))).where(of_product)
    return select(*PRODUCT).where(products.c.store == shopper.store, priced)


def _found(shopper: Shopper, *, phrase: str, category_id: str | None) -> Select[Any]:
    found = _sold(shopper)
    if phrase:
        found = found.where(matches(phrase))
    if category_id is not None:
        found = found.where(products.c.id.in_(_in_category(shopper, category_id)))
    return found


def _in_category(shopper: Shopper, category_id: str) -> Select[Any]:
    """The products of a category and of those below it."""
    name = category_id if storable(category_id) else ""
    below = (
        select(categories.c.id)
        .where(categories.c.store == shopper.store, or_(categories.c.id == name, categories.c.slug == name))
        .cte("below", recursive=True)
    )
    children = select(categories.c.id).where(categories.c.store == shopper.store, categories.c.parent_id == below.c.id)
    tree = below.union(children)
    return select(product_categories.c.product_id).where(
        product_categories.c.store == shopper.store, product_categories.c.category_id.in_(select(tree.c.id))
    )


def _cheapest(shopper: Shopper) -> ColumnElement[int]:
    """The price of a product's cheapest variant."""
    return (
        select(func.min(prices.c.amount))
        .select_from(variants.join(prices, _priced(shopper)))
        .where(variants.c.store == products.c.store, variants.c.product_id == products.c.id)
        .scalar_subquery()
    )


def _by_relevance(_shopper: Shopper, phrase: str) -> tuple[ColumnElement[Any], ...]:
    ranked = (rank(phrase),) if phrase else ()
    return (*ranked, products.c.position, products.c.id)


ORDERS: Mapping[Sort, Callable[[Shopper, str], tuple[ColumnElement[Any], ...]]] = {
    Sort.RELEVANCE: _by_relevance,
    Sort.NAME: lambda _shopper, _phrase: (products.c.search_name, products.c.id),
    Sort.PRICE_ASC: lambda shopper, _phrase: (_cheapest(shopper), products.c.id),
    Sort.PRICE_DESC: lambda shopper, _phrase: (_cheapest(shopper).desc(), products.c.id),
}


def _wanted(ids: Sequence[str]) -> list[str]:
    if len(ids) > MAX_IDS:
        raise InvalidInput(f"At most {MAX_IDS} can be asked for at once.")
    return [name for name in dict.fromkeys(ids) if storable(name)]


# -- rows into values --------------------------------------------------------------------------------------------------


async def _with_variants(unit: Unit, shopper: Shopper, rows: Sequence[Row[Any]]) -> tuple[Product, ...]:
    """Two queries for any number of products."""
    if not rows:
        return ()
    ids = [row.id for row in rows]
    shelves = await _shelves(unit, shopper, ids)
    sorts = await _variants(unit, shopper, ids)
    return tuple(
        Product(
            id=row.id,
            slug=row.slug,
            name=row.name,
            description=row.description,
            category_ids=tuple(shelves[row.id]),
            picture=row.picture,
            picture_alt=row.picture_alt,
            attributes=row.attributes,
            variants=tuple(sorts[row.id]),
        )
        for row in rows
    )


async def _shelves(unit: Unit, shopper: Shopper, ids: Sequence[str]) -> Mapping[str, list[str]]:
    of_product = product_categories.c
    shelves: dict[str, list[str]] = defaultdict(list)
    for row in await unit.all(
        select(of_product.product_id, of_product.category_id)
        .where(of_product.store == shopper.store, of_product.product_id.in_(ids))
        .order_by(of_product.category_id)
    ):
        shelves[row.product_id].append(row.category_id)
    return shelves


async def _variants(unit: Unit, shopper: Shopper, ids: Sequence[str]) -> Mapping[str, list[Variant]]:
    sorts: dict[str, list[Variant]] = defaultdict(list)
    for row in await unit.all(
        select(variants, prices.c.amount, prices.c.list_amount)
        .select_from(variants.join(prices, _priced(shopper)))
        .where(variants.c.store == shopper.store, variants.c.product_id.in_(ids))
        .order_by(variants.c.position, variants.c.id)
    ):
        sorts[row.product_id].append(_variant(row, shopper.currency))
    return sorts


def _variant(row: Row[Any], currency: str) -> Variant:
    return Variant(
        id=row.id,
        sku=row.sku,
        name=row.name,
        attributes=row.attributes,
        price=Money(row.amount, currency),
        list_price=Money(row.list_amount, currency),
        stock=row.stock,
    )


def _category(row: Row[Any]) -> Category:
    return Category(
        id=row.id,
        name=row.name,
        slug=row.slug,
        description=row.description,
        parent_id=row.parent_id,
        picture=row.picture,
    )


def _parents_first(all_: Sequence[Category]) -> list[Category]:
    """Level by level, each in the shop's order; a category whose parent is gone stands at the top."""
    known = {category.id for category in all_}
    level = [category for category in all_ if category.parent_id not in known]
    sorted_: list[Category] = []
    while level:
        sorted_ += level
        above = {category.id for category in level}
        level = [category for category in all_ if category.parent_id in above]
    return sorted_
