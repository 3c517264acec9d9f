"""The catalogue: queries for items and categories."""

from collections.abc import Mapping
from typing import Annotated

import strawberry
from strawberry import UNSET

from shopkeeper.commerce.port import Category as Shelf
from shopkeeper.commerce.port import Sort, require_catalogue
from shopkeeper.errors import InvalidInput
from shopkeeper.graphql.context import Context, Info
from shopkeeper.graphql.cost import ListSize
from shopkeeper.graphql.fields import resolved
from shopkeeper.graphql.items import Category, Item, items_of, reference
from shopkeeper.graphql.pagination import (
    DEFAULT_LIMIT,
    FacetResult,
    Hint,
    Limit,
    Offset,
    PageResult,
    QueryHint,
    SortFields,
    refuse_cursor,
    window,
)

SORTS: Mapping[str, Sort] = {
    "": Sort.RELEVANCE,
    "relevance": Sort.RELEVANCE,
    "name": Sort.NAME,
    "name asc": Sort.NAME,
    "price": Sort.PRICE_ASC,
    "price asc": Sort.PRICE_ASC,
    "price desc": Sort.PRICE_DESC,
}

Id = Annotated[str, strawberry.argument(description="The id or slug; `id___code` will do as well.")]
Ids = Annotated[list[str], strawberry.argument(description="Ids or slugs.")]
Slug = Annotated[str, strawberry.argument(description="The name in addresses.")]

PAGE = ListSize(assumed_size=DEFAULT_LIMIT, slicing_arguments=["limit"], sized_fields=["items"])


@strawberry.type(description="One page of items.")
class ItemsPageResult(PageResult):
    items: list[Item] = strawberry.field(description="The items.")
    facet_result: FacetResult | None = strawberry.field(
        default=None, description="What the search can be narrowed by, where the engine can say."
    )
    query_hint: QueryHint | None = strawberry.field(
        default=None, description="What the engine has to say beside the result."
    )


@strawberry.type
class CatalogueQueries:
    @resolved("Items that hold every word of a text.", directives=[PAGE])
    async def find_items_by_keyword(
        self,
        info: Info,
        *,
        text: Annotated[str, strawberry.argument(description="The words. None means all items.")],
        offset: Offset = 0,
        limit: Limit = DEFAULT_LIMIT,
        query_hint: Hint = UNSET,
        sort_fields: SortFields = UNSET,
    ) -> ItemsPageResult | None:
        refuse_cursor(query_hint)
        return await _page(info.context, text=text, offset=offset, limit=limit, sort_fields=sort_fields)

    @resolved("Items of a category and of those below it.", directives=[PAGE])
    async def find_items_by_category(
        self,
        info: Info,
        *,
        category_id: Annotated[str, strawberry.argument(description="The category's id or slug.")],
        offset: Offset = 0,
        limit: Limit = DEFAULT_LIMIT,
        query_hint: Hint = UNSET,
        sort_fields: SortFields = UNSET,
    ) -> ItemsPageResult | None:
        refuse_cursor(query_hint)
        return await _page(info.context, category_id=category_id, offset=offset, limit=limit, sort_fields=sort_fields)

    @resolved(
        "Items by their ids, in the order of the ids. A page is cut from the ids, and those on it that are not sold are"
        " left out of it and of the total.",
        directives=[ListSize(assumed_size=DEFAULT_LIMIT, slicing_arguments=["ids"], sized_fields=["items"])],
    )
    async def find_items_by_ids(
        self, info: Info, *, ids: Ids, offset: Offset = 0, limit: Limit = DEFAULT_LIMIT, query_hint: Hint = UNSET
    ) -> ItemsPageResult | None:
        refuse_cursor(query_hint)
        context, (start, most) = info.context, window(offset, limit)
        wanted = list(dict.fromkeys(reference(id_) for id_ in ids))
        page = wanted[start : start + most]
        found = await require_catalogue(context.engine).products(page)
        items = await items_of(list({each.id: each for each in found.values()}.values()), context)
        total = len(wanted) - len(page) + len(items)
        return ItemsPageResult(offset=start, limit=most, count=len(items), total=total, items=items)

    @resolved("One item, or null where it is not sold.")
    async def find_item_by_id(self, info: Info, *, id: Id, query_hint: Hint = UNSET) -> Item | None:  # noqa: A002 - the client's word
        return await _item(info.context, reference(id))

    @resolved("One item by its name in addresses, or null where it is not sold.")
    async def find_item_by_slug(self, info: Info, *, slug: Slug, query_hint: Hint = UNSET) -> Item | None:
        return await _item(info.context, slug)

    @resolved("Every category, parents before children.", directives=[ListSize(assumed_size=30)])
    async def find_categories(self, info: Info, *, query_hint: Hint = UNSET) -> list[Category] | None:
        return _categories(await info.context.loaders.categories())

    @resolved("Categories by their ids; unknown ones are left out.", directives=[ListSize(assumed_size=30)])
    async def find_categories_by_ids(self, info: Info, *, ids: Ids, query_hint: Hint = UNSET) -> list[Category] | None:
        shelves = await info.context.loaders.categories()
        return [Category(shelf=shelves[id_], shelves=shelves) for id_ in dict.fromkeys(ids) if id_ in shelves]

    @resolved("One category, or null where there is none of this id.")
    async def find_category_by_id(
        self,
        info: Info,
        *,
        id: Annotated[str, strawberry.argument(description="The id.")],  # noqa: A002 - the client's word
        query_hint: Hint = UNSET,
    ) -> Category | None:
        shelves = await info.context.loaders.categories()
        return Category(shelf=shelves[id], shelves=shelves) if id in shelves else None

    @resolved("One category by its name in addresses, or null.")
    async def find_category_by_slug(self, info: Info, *, slug: Slug, query_hint: Hint = UNSET) -> Category | None:
        found = _categories(await info.context.loaders.categories())
        return next((category for category in found if category.shelf.slug == slug), None)


async def _page(
    context: Context,
    *,
    text: str | None = None,
    category_id: str | None = None,
    offset: int | None,
    limit: int | None,
    sort_fields: str | None,
) -> ItemsPageResult:
    start, most = window(offset, limit)
    page = await require_catalogue(context.engine).find_products(
        text=text,
        category_id=category_id,
        sort=_sort(sort_fields),
        offset=start,
        limit=most,
    )
    items = await items_of(page.items, context)
    total = page.total if page.total is not None else start + len(items)
    return ItemsPageResult(offset=start, limit=most, count=len(items), total=total, items=items)


async def _item(context: Context, id_: str) -> Item | None:
    product = await context.loaders.product(id_)
    return (await items_of([product], context))[0] if product is not None else None


def _categories(shelves: Mapping[str, Shelf]) -> list[Category]:
    return [Category(shelf=shelf, shelves=shelves) for shelf in shelves.values()]


def _sort(sort_fields: str | None) -> Sort:
    sort = SORTS.get(" ".join((sort_fields or "").lower().split()))
    if sort is None:
        raise InvalidInput("Items can be sorted by: relevance, name, price asc, price desc.")
    return sort
