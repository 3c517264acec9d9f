"""Common parts of pages and of mutation payloads, and the hints of searches.

The published client asks for facets, corrections and statistics in each of its searches, so they are part of the
schema. They are null if the engine has none, as in the embedded shop.
"""

import enum
from decimal import Decimal
from typing import Annotated

import strawberry
from strawberry import UNSET

from shopkeeper.errors import InvalidCursor, InvalidInput

DONE = "OK"
DEFAULT_LIMIT = 20
MAX_LIMIT = 100


@strawberry.interface(description="What every mutation answers with, where it was not refused outright.")
class MutationResponse:
    code: str = strawberry.field(description="`OK`, or why nothing was changed: a name for programs.")
    success: bool = strawberry.field(description="Whether it was done.")
    message: str = strawberry.field(description="The same as a sentence for people.")


@strawberry.interface(description="One page of many things.")
class PageResult:
    offset: int = strawberry.field(description="How many things come before this page.")
    limit: int = strawberry.field(description="How many things a page holds at most.")
    count: int = strawberry.field(description="How many things are on this page.")
    total: int = strawberry.field(description="How many things there are in all; 1000 means 1000 or more.")


@strawberry.type(description="Where a search should go instead.")
class RedirectHint:
    url: str | None = strawberry.field(default=None, description="The page to go to.")
    query: str | None = strawberry.field(default=None, description="The words that were searched for.")
    new_query: str | None = strawberry.field(default=None, description="The words to search for instead.")


@strawberry.type(description="The smallest and the greatest value of a field.")
class StatsField:
    min: Decimal | None = strawberry.field(default=None, description="The smallest value.")
    max: Decimal | None = strawberry.field(default=None, description="The greatest value.")


@strawberry.type(description="Statistics of everything that was found.")
class StatsFields:
    list_price: StatsField | None = strawberry.field(default=None, description="Of the list prices.")
    purchase_price: StatsField | None = strawberry.field(default=None, description="Of the purchase prices.")


@strawberry.type(description="What an engine has to say about a search beside its result.")
class QueryHint:
    cursor: str | None = strawberry.field(default=None, description="Where the next page begins, for engines that say.")
    auto_correct_query: str | None = strawberry.field(default=None, description="The words as they were corrected.")
    auto_correct_query_set: list[str] | None = strawberry.field(
        default=None, description="Other words that may have been meant."
    )
    redirect_hint: RedirectHint | None = strawberry.field(default=None, description="Where to go instead.")
    stats_fields: StatsFields | None = strawberry.field(default=None, description="Statistics of what was found.")


@strawberry.type(description="One choice of a facet.")
class FacetFieldValue:
    id: str = strawberry.field(description="What to filter by.")
    parent_id: str | None = strawberry.field(default=None, description="The choice that this one is a part of.")
    name: str = strawberry.field(description="What to show.")
    count: int = strawberry.field(description="How many things it leads to.")


@strawberry.type(description="A property to narrow a search by.")
class FacetField:
    id: str = strawberry.field(description="What to filter by.")
    name: str = strawberry.field(description="What to show.")
    values: list[FacetFieldValue] = strawberry.field(description="The choices there are.")


@strawberry.type(description="One span of a range.")
class FacetRangeValue:
    start: str = strawberry.field(description="Where it begins.")
    end: str = strawberry.field(description="Where it ends.")
    count: int = strawberry.field(description="How many things are in it.")


@strawberry.type(description="A number to narrow a search by.")
class FacetRange:
    id: str = strawberry.field(description="What to filter by.")
    name: str = strawberry.field(description="What to show.")
    values: list[FacetRangeValue] = strawberry.field(description="The spans there are.")


@strawberry.type(description="What a search can be narrowed by.")
class FacetResult:
    fields: list[FacetField] = strawberry.field(description="By choices.")
    ranges: list[FacetRange] | None = strawberry.field(default=None, description="By numbers.")


@strawberry.enum(description="What a facet's filter applies to.")
class FacetFilterScope(enum.Enum):
    FilterFacets = "FilterFacets"
    FilterFacetsAndResults = "FilterFacetsAndResults"
    FilterResults = "FilterResults"


@strawberry.input(description="The choices of one facet to filter by.")
class FacetFieldFilterInput:
    id: str = strawberry.field(description="The facet.")
    values: list[str | None] = strawberry.field(description="The choices.")


@strawberry.input(description="A further parameter for an engine.")
class ParamInput:
    name: str = strawberry.field(description="The parameter.")
    values: list[str | None] = strawberry.field(description="Its values.")


@strawberry.input(
    description="Hints for engines that can use them, in the published client's names. An engine passes over the hints"
    " that it has no use for: they change neither who may see something nor what it costs."
)
class QueryHintInput:
    br_uid2: str | None = strawberry.field(default=UNSET, description="The visitor's id in the search service.")
    account_id: str | None = strawberry.field(default=UNSET, description="The account in the search service.")
    domain_key: str | None = strawberry.field(default=UNSET, description="The site in the search service.")
    auth_key: str | None = strawberry.field(default=UNSET, description="The key of the search service.")
    view_id: str | None = strawberry.field(default=UNSET, description="The view of the catalogue.")
    catalog_views: str | None = strawberry.field(default=UNSET, description="The catalogues and their views.")
    facet_field_filters: list[FacetFieldFilterInput | None] | None = strawberry.field(
        default=UNSET, description="Choices to narrow the search by."
    )
    cursor: str | None = strawberry.field(default=UNSET, description="Where to begin: a cursor from the page before.")
    params: list[ParamInput | None] | None = strawberry.field(default=UNSET, description="Further parameters.")
    custom_attr_fields: list[str | None] | None = strawberry.field(
        default=UNSET, description="The attributes of items that are wanted."
    )
    custom_variant_attr_fields: list[str | None] | None = strawberry.field(
        default=UNSET, description="The attributes of variants that are wanted."
    )
    widget_type: str | None = strawberry.field(default=UNSET, description="The kind of recommendation.")
    widget_id: str | None = strawberry.field(default=UNSET, description="The recommendation.")
    custom_variant_list_price_field: str | None = strawberry.field(
        default=UNSET, description="Where the list price stands."
    )
    custom_variant_purchase_price_field: str | None = strawberry.field(
        default=UNSET, description="Where the purchase price stands."
    )
    store_key: str | None = strawberry.field(default=UNSET, description="The engine's name for a branch.")
    custom_field_filter_expression: str | None = strawberry.field(default=UNSET, description="A filter in its words.")
    br_env_type: str | None = strawberry.field(default=UNSET, description="Which of the search service's systems.")
    facet_filter_scope: FacetFilterScope | None = strawberry.field(
        default=UNSET, description="What the choices apply to."
    )


@strawberry.type(description="A named attribute and what it is.")
class Attribute:
    name: str = strawberry.field(description="What it is called: colour, size.")
    values: list[str] = strawberry.field(description="What it is: red, large.")


@strawberry.input(description="A named attribute and what it is to be.")
class AttributeInput:
    name: str = strawberry.field(description="What it is called.")
    values: list[str] | None = strawberry.field(default=UNSET, description="What it is.")
    ref: str | None = strawberry.field(
        default=UNSET, description="What the attribute refers to, in the engine's words."
    )


Hint = Annotated[QueryHintInput | None, strawberry.argument(description="Hints for the engine.")]
Offset = Annotated[int | None, strawberry.argument(description="How many to pass over.")]
Limit = Annotated[int | None, strawberry.argument(description="How many to answer with: 1 to 100.")]
SortFields = Annotated[
    str | None,
    strawberry.argument(description="The order: `relevance`, `name`, `price asc` or `price desc`."),
]


def window(offset: int | None, limit: int | None) -> tuple[int, int]:
    """Return the offset and the size of a page. Raises `InvalidInput` for values that are out of bounds."""
    start = 0 if offset is None else offset
    most = DEFAULT_LIMIT if limit is None else limit
    if start < 0 or not 1 <= most <= MAX_LIMIT:
        raise InvalidInput(f"A page begins at 0 or later and has 1 to {MAX_LIMIT} entries.")
    return start, most


def refuse_cursor(hint: QueryHintInput | None) -> None:
    """Refuse a cursor: pages are addressed by offset, and to ignore a cursor would repeat a page."""
    if hint and hint.cursor:
        raise InvalidCursor("These pages have no cursors; turn them by offset and limit.")
