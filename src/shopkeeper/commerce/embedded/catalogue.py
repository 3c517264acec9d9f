"""Products and categories of the embedded shop. Every call takes the same few queries, however much it finds.

Statements are built once for each shape of query; what differs is bound.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, bindparam, exists, func, or_, select

from shopkeeper.commerce.embedded.paging import Pages
from shopkeeper.commerce.embedded.search import matches, phrase_of, rank
from shopkeeper.commerce.embedded.store import categories, prices, product_categories, products, variants
from shopkeeper.commerce.port import Category, Money, Page, Product, Shopper, Sort, Variant
from shopkeeper.errors import InvalidInput
from shopkeeper.storage.database import Unit
from shopkeeper.storage.text_limits import storable

MAX_IDS = 500
BETWEEN_SHELVES = "\x1f"
"""A separator that no id contains."""

Bound = Mapping[str, str]
"""The shopper's store and currency, as the statements below name them."""

_STORE = bindparam("of_store", type_=products.c.store.type)
_CURRENCY = bindparam("of_currency", type_=prices.c.currency.type)
_CATEGORY = bindparam("of_category", type_=categories.c.id.type)


class EmbeddedCatalogue:
    """Satisfies `Catalogue` for one shopper in one unit of work."""

    __slots__ = ("_bound", "_unit")

    def __init__(self, unit: Unit, shopper: Shopper) -> None:
        self._unit = unit
        self._bound = {"of_store": shopper.store, "of_currency": shopper.currency}

    async def find_products(
        self,
        *,
        text: str | None = None,
        category_id: str | None = None,
        sort: Sort = Sort.RELEVANCE,
        offset: int = 0,
        limit: int = 20,
    ) -> Page[Product]:
        phrase = phrase_of(text)
        pages = _found(sort, words=len(phrase.words), on_a_shelf=category_id is not None)
        bound = {**self._bound, **phrase.bound}
        if category_id is not None:
            bound["of_category"] = category_id if storable(category_id) else ""
        page = await pages.turn(self._unit, bound, offset=offset, limit=limit)
        return Page(await _with_variants(self._unit, self._bound, page.rows), cursor=page.cursor, total=page.total)

    async def products(self, ids: Sequence[str]) -> Mapping[str, Product]:
        wanted = _wanted(ids)
        rows = await self._unit.all(_PRODUCTS_NAMED, {**self._bound, "names": wanted})
        found = await _with_variants(self._unit, self._bound, rows)
        named = {product.slug: product for product in found} | {product.id: product for product in found}
        return {name: named[name] for name in wanted if name in named}

    async def variants(self, ids: Sequence[str], currency: str | None = None) -> Mapping[str, tuple[Product, Variant]]:
        wanted, bound = _wanted(ids), self._bound if currency is None else {**self._bound, "of_currency": currency}
        rows = await self._unit.all(_PRODUCTS_WITH, {**bound, "names": wanted}) if wanted else ()
        found = [(product, variant) for product in _products(rows, bound) for variant in product.variants]
        named = {pair[1].sku: pair for pair in found} | {pair[1].id: pair for pair in found}
        return {name: named[name] for name in wanted if name in named}

    async def categories(self) -> Sequence[Category]:
        rows = await self._unit.all(_CATEGORIES, {"of_store": self._bound["of_store"]})
        return _parents_first([_category(row) for row in rows])


async def is_stocked(unit: Unit, store: str) -> bool:
    """Return whether a store has any product, with or without a price."""
    return await unit.first(_ANY_PRODUCT, {"of_store": store}) is not None


def _wanted(ids: Sequence[str]) -> list[str]:
    if len(ids) > MAX_IDS:
        raise InvalidInput(f"At most {MAX_IDS} can be asked for at once.")
    return [name for name in dict.fromkeys(ids) if storable(name)]


_IN_ORDER = (variants.c.position, variants.c.id)
"""The order of a product's variants."""

# -- the statements ----------------------------------------------------------------------------------------------------


def _priced() -> ColumnElement[bool]:
    """Join a price in the shopper's currency to a variant."""
    return and_(
        prices.c.store == variants.c.store, prices.c.variant_id == variants.c.id, prices.c.currency == _CURRENCY
    )


def _of_product() -> ColumnElement[bool]:
    return and_(variants.c.store == products.c.store, variants.c.product_id == products.c.id)


def _sold() -> Select[Any]:
    """Select the products with a price in the shopper's currency."""
    shown = (
        products.c.id,
        products.c.slug,
        products.c.name,
        products.c.description,
        products.c.picture,
        products.c.picture_alt,
        products.c.attributes,
        _shelves().label("shelves"),
    )
    priced = exists().select_from(variants.join(prices, _priced())).where(_of_product())
    return select(*shown).where(products.c.store == _STORE, priced)


def _whole_products() -> Select[Any]:
    """Select products with a row for each of their variants that has a price in the shopper's currency."""
    shown = (
        variants.c.product_id,
        variants.c.id,
        variants.c.sku,
        variants.c.name,
        variants.c.attributes,
        variants.c.stock,
        prices.c.amount,
        prices.c.list_amount,
        products.c.slug,
        products.c.name.label("product_name"),
        products.c.description,
        products.c.picture,
        products.c.picture_alt,
        products.c.attributes.label("product_attributes"),
        _shelves().label("shelves"),
    )
    joined = variants.join(prices, _priced()).join(products, _of_product())
    return select(*shown).select_from(joined).where(variants.c.store == _STORE).order_by(*_IN_ORDER)


def _shelves() -> ColumnElement[str]:
    """Select the ids of a product's categories, joined into one text."""
    shelf = product_categories.c
    ids = select(func.aggregate_strings(shelf.category_id, BETWEEN_SHELVES))
    return ids.where(shelf.store == products.c.store, shelf.product_id == products.c.id).scalar_subquery()


def _cheapest() -> ColumnElement[int]:
    """Select the price of a product's cheapest variant."""
    lowest = select(func.min(prices.c.amount)).select_from(variants.join(prices, _priced()))
    return lowest.where(_of_product()).scalar_subquery()


Order = tuple[ColumnElement[Any], ...]


def _by_relevance(words: int) -> Order:
    ranked = (rank(words),) if words else ()
    return (*ranked, products.c.position, products.c.id)


ORDERS: Mapping[Sort, Callable[[int], Order]] = {
    Sort.RELEVANCE: _by_relevance,
    Sort.NAME: lambda _words: (products.c.search_name, products.c.id),
    Sort.PRICE_ASC: lambda _words: (_cheapest(), products.c.id),
    Sort.PRICE_DESC: lambda _words: (_cheapest().desc(), products.c.id),
}


@cache
def _found(sort: Sort, *, words: int, on_a_shelf: bool) -> Pages:
    """Return the statements for one shape of search and order, cached: there are a few dozen shapes."""
    found = _sold()
    if words:
        found = found.where(matches(words))
    if on_a_shelf:
        found = found.where(products.c.id.in_(_on_shelf()))
    return Pages(found, order=ORDERS[sort](words))


def _on_shelf() -> Select[Any]:
    """Select the products of a category and of those below it."""
    named = or_(categories.c.id == _CATEGORY, categories.c.slug == _CATEGORY)
    below = select(categories.c.id).where(categories.c.store == _STORE, named).cte("below", recursive=True)
    children = select(categories.c.id).where(categories.c.store == _STORE, categories.c.parent_id == below.c.id)
    tree = below.union(children)
    shelf = product_categories.c
    return select(shelf.product_id).where(shelf.store == _STORE, shelf.category_id.in_(select(tree.c.id)))


def _any_of(name: str) -> Any:
    return bindparam(name, expanding=True)


_PRODUCTS_NAMED = _sold().where(or_(products.c.id.in_(_any_of("names")), products.c.slug.in_(_any_of("names"))))
_PRODUCTS_WITH = _whole_products().where(
    variants.c.product_id.in_(
        select(variants.c.product_id).where(
            variants.c.store == _STORE,
            or_(variants.c.id.in_(_any_of("names")), variants.c.sku.in_(_any_of("names"))),
        )
    )
)
_ANY_PRODUCT = select(products.c.id).where(products.c.store == _STORE).limit(1)
_CATEGORIES = select(categories).where(categories.c.store == _STORE).order_by(categories.c.position, categories.c.id)
_VARIANTS = (
    select(variants, prices.c.amount, prices.c.list_amount)
    .select_from(variants.join(prices, _priced()))
    .where(variants.c.store == _STORE, variants.c.product_id.in_(_any_of("ids")))
    .order_by(*_IN_ORDER)
)


# -- rows into values --------------------------------------------------------------------------------------------------


async def _with_variants(unit: Unit, bound: Bound, rows: Sequence[Row[Any]]) -> tuple[Product, ...]:
    """Return products with their variants, in one more query for any number of products."""
    if not rows:
        return ()
    sorts = await _variants(unit, bound, [row.id for row in rows])
    return tuple(
        Product(
            id=row.id,
            slug=row.slug,
            name=row.name,
            description=row.description,
            category_ids=_category_ids(row.shelves),
            picture=row.picture,
            picture_alt=row.picture_alt,
            attributes=row.attributes,
            variants=tuple(sorts[row.id]),
        )
        for row in rows
    )


def _products(rows: Sequence[Row[Any]], bound: Bound) -> list[Product]:
    """Return products of rows that hold a variant each."""
    sorts: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        sorts[row.product_id].append(row)
    return [
        Product(
            id=first.product_id,
            slug=first.slug,
            name=first.product_name,
            description=first.description,
            category_ids=_category_ids(first.shelves),
            picture=first.picture,
            picture_alt=first.picture_alt,
            attributes=first.product_attributes,
            variants=tuple(_variant(row, bound["of_currency"]) for row in (first, *others)),
        )
        for first, *others in sorts.values()
    ]


def _category_ids(shelves: str | None) -> tuple[str, ...]:
    return tuple(sorted(shelves.split(BETWEEN_SHELVES))) if shelves else ()


async def _variants(unit: Unit, bound: Bound, ids: Sequence[str]) -> Mapping[str, list[Variant]]:
    sorts: dict[str, list[Variant]] = defaultdict(list)
    for row in await unit.all(_VARIANTS, {**bound, "ids": ids}):
        sorts[row.product_id].append(_variant(row, bound["of_currency"]))
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
    """Sort categories level by level, each in the shop's order; one whose parent is unknown counts as top level."""
    known = {category.id for category in all_}
    level = [category for category in all_ if category.parent_id not in known]
    sorted_: list[Category] = []
    while level:
        sorted_ += level
        above = {category.id for category in level}
        level = [category for category in all_ if category.parent_id in above]
    return sorted_
