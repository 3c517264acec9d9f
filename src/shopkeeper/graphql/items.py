"""What is sold, as types: products (`Item`) and what is added to a cart (`ItemVariant`), with pictures and stock."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import strawberry

from shopkeeper.commerce.port import Category as Shelf
from shopkeeper.commerce.port import Product, Variant
from shopkeeper.graphql.context import Context
from shopkeeper.graphql.cost import ListSize
from shopkeeper.graphql.fields import resolved
from shopkeeper.graphql.loaders import Sold
from shopkeeper.graphql.money import Price, amount_of
from shopkeeper.graphql.pagination import Attribute

BETWEEN = "___"
"""Separates id and code where the published client sends both as one text."""


@strawberry.type(description="What an item is called by programs.")
class ItemId:
    id: str = strawberry.field(description="The id, as the engine has it.")
    code: str | None = strawberry.field(default=None, description="The SKU of a variant, the slug of a product.")


@strawberry.type(description="A link.")
class Link:
    href: str = strawberry.field(description="Where it leads: an absolute address, or a path on this server.")


@strawberry.type(description="The size of a picture in pixels.")
class Dimension:
    w: int | None = strawberry.field(default=None, description="How wide.")
    h: int | None = strawberry.field(default=None, description="How high.")


@strawberry.type(description="A picture.")
class Image:
    link: Link = strawberry.field(description="Where the picture is.")
    dimension: Dimension | None = strawberry.field(
        default=None, description="Its size; null for drawings, which have none."
    )
    alt: str = strawberry.field(default="", description="What the picture shows, for those who cannot see it.")


@strawberry.type(description="A picture under a name.")
class ImageVariant:
    name: str = strawberry.field(description="The name.")
    image: Image = strawberry.field(description="The picture.")


@strawberry.type(description="The pictures of an item.")
class ImageSet:
    original: Image = strawberry.field(description="The picture as it was made.")

    @resolved("A small one for lists.")
    def thumbnail(self) -> Image:
        return self.original

    @resolved("All of them by name.", directives=[ListSize(assumed_size=1)])
    def variants(self) -> list[ImageVariant]:
        return [ImageVariant(name="original", image=self.original)]


@strawberry.type(description="What tells the variants of a product apart.")
class AttributeType:
    name: str = strawberry.field(description="Its name: colour, size.")


@strawberry.type(description="The product that a variant belongs to.")
class ItemInfo:
    product: strawberry.Private[Product]

    @resolved("What the product is called by programs.")
    def item_id(self) -> ItemId:
        return ItemId(id=self.product.id, code=self.product.slug)

    @resolved("What the product is called by people.")
    def display_name(self) -> str:
        return self.product.name

    @resolved("The product's name in addresses.")
    def slug(self) -> str:
        return self.product.slug


@strawberry.type(description="What a sales channel has in stock.")
class ChannelStockAvailability:
    channel_id: str | None = strawberry.field(default=None, description="The channel.")
    in_stock: bool | None = strawberry.field(default=None, description="Whether it can be had at once.")
    available_quantity: int | None = strawberry.field(default=None, description="How many there are.")
    restockable_in_days: int | None = strawberry.field(default=None, description="When there will be more.")


@strawberry.type(description="What is in stock.")
class StockAvailability:
    available_quantity: int = strawberry.field(description="How many there are.")

    @resolved("Whether it can be had at once.")
    def in_stock(self) -> bool:
        return self.available_quantity > 0

    restockable_in_days: int | None = strawberry.field(
        default=None, description="In how many days there will be more, where the engine knows."
    )
    channels: list[ChannelStockAvailability] = strawberry.field(
        default_factory=list,
        description="The same for each sales channel, where the engine has several.",
        directives=[ListSize(assumed_size=2)],
    )


@strawberry.interface(description="What products and their variants have in common.")
class ItemLike:
    product: strawberry.Private[Product]
    variant: strawberry.Private[Variant]
    context: strawberry.Private[Context]

    @resolved("What it is called by programs.")
    def item_id(self) -> ItemId:
        return ItemId(id=self.variant.id, code=self.variant.sku)

    @resolved("What it is called by people.")
    def display_name(self) -> str:
        return ", ".join(part for part in (self.product.name, self.variant.name) if part)

    @resolved("What it is, in a few sentences.")
    def description(self) -> str:
        return self.product.description

    @resolved("Its pictures; null where it has none.")
    def image_set(self) -> ImageSet | None:
        name, alt = self.product.picture, self.product.picture_alt
        return ImageSet(original=Image(link=Link(href=self.context.pictures(name)), alt=alt)) if name else None

    @resolved("What one costs without any reduction.")
    def list_price(self) -> Price:
        return Price(money=self.variant.list_price, locale=self.context.locale)

    @resolved("What one costs now.")
    def purchase_price(self) -> Price:
        return Price(money=self.variant.price, locale=self.context.locale)


@strawberry.type(description="A product in one size, colour or the like: what is put into a cart, by either id.")
class ItemVariant(ItemLike):
    @resolved("Whether this is the variant to show first.")
    def master(self) -> bool:
        return self.variant.id == self.product.variants[0].id

    @resolved("What tells it apart from the other variants.", directives=[ListSize(assumed_size=2)])
    def var_attrs(self) -> list[Attribute]:
        return _attributes(self.variant.attributes)

    @resolved("What is true of every variant.", directives=[ListSize(assumed_size=4)])
    def custom_attrs(self) -> list[Attribute]:
        return _attributes(self.product.attributes)

    @resolved("The product that it belongs to.")
    def main_item(self) -> ItemInfo:
        return ItemInfo(product=self.product)

    @resolved("What is in stock.")
    def availability(self) -> StockAvailability:
        return StockAvailability(available_quantity=self.variant.stock)


@strawberry.type(description="A shelf of the shop, as others refer to it.")
class BaseCategory:
    shelf: strawberry.Private[Shelf]
    shelves: strawberry.Private[Mapping[str, Shelf]]

    @resolved("The id.")
    def id(self) -> str:
        return self.shelf.id

    @resolved("The name for people.")
    def display_name(self) -> str:
        return self.shelf.name

    @resolved("The ids of the shelves above and its own, with `/` between them.")
    def path(self) -> str:
        return "/".join(shelf.id for shelf in (*above(self.shelf, self.shelves), self.shelf))

    @resolved("The id of the shelf that it is a part of; empty at the top.")
    def parent_id(self) -> str:
        return self.shelf.parent_id or ""


@strawberry.type(description="A shelf of the shop.")
class Category(BaseCategory):
    @resolved("The name in addresses.")
    def slug(self) -> str:
        return self.shelf.slug

    @resolved("Another key, where the engine has one: here it is the slug.")
    def key(self) -> str | None:
        return self.shelf.slug

    @resolved("What is on it, in a sentence.")
    def description(self) -> str:
        return self.shelf.description

    @resolved("The shelves above, from the top down.", directives=[ListSize(assumed_size=2)])
    def parent(self) -> list[BaseCategory]:
        return [BaseCategory(shelf=shelf, shelves=self.shelves) for shelf in above(self.shelf, self.shelves)]


@strawberry.type(description="A product with its variants. Its price is that of the cheapest.")
class Item(ItemLike):
    shelves: strawberry.Private[Mapping[str, Shelf]]

    @resolved("What the product is called by programs. Put one of its variants into a cart.")
    def item_id(self) -> ItemId:
        return ItemId(id=self.product.id, code=self.product.slug)

    @resolved("What it is called by people.")
    def display_name(self) -> str:
        return self.product.name

    @resolved("What tells its variants apart.", directives=[ListSize(assumed_size=2)])
    def var_attr_types(self) -> list[AttributeType]:
        names = dict.fromkeys(name for variant in self.product.variants for name in variant.attributes)
        return [AttributeType(name=name) for name in names]

    @resolved("The lowest and the highest price of its variants now.")
    def sale_price_range(self) -> list[Decimal]:
        return _range([amount_of(variant.price) for variant in self.product.variants])

    @resolved("The lowest and the highest price of its variants without any reduction.")
    def price_range(self) -> list[Decimal]:
        return _range([amount_of(variant.list_price) for variant in self.product.variants])

    @resolved("What is true of every variant.", directives=[ListSize(assumed_size=4)])
    def custom_attrs(self) -> list[Attribute]:
        return _attributes(self.product.attributes)

    @resolved("What can be put into a cart, the first to be shown first.", directives=[ListSize(assumed_size=3)])
    def variants(self) -> list[ItemVariant]:
        return [variant_of((self.product, variant), self.context) for variant in self.product.variants]

    @resolved("Its name in addresses.")
    def slug(self) -> str:
        return self.product.slug

    @resolved("The shelves it stands on.", directives=[ListSize(assumed_size=2)])
    def categories(self) -> list[Category]:
        known = (self.shelves.get(id_) for id_ in self.product.category_ids)
        return [Category(shelf=shelf, shelves=self.shelves) for shelf in known if shelf is not None]


async def items_of(products: Sequence[Product], context: Context) -> list[Item]:
    """Return products as items, with their categories if the request asks for those."""
    shelves = await context.loaders.categories() if "categories" in context.asked else {}
    return [Item(product=each, variant=_cheapest(each), shelves=shelves, context=context) for each in products]


def variant_of(sold: Sold, context: Context) -> ItemVariant:
    """Return a variant with its product."""
    product, variant = sold
    return ItemVariant(product=product, variant=variant, context=context)


def reference(item_id: str) -> str:
    """Return an item's id as the engine knows it. The published client sends id and code as one text.

    >>> reference("teapot-blue___QK-POT-2"), reference("QK-POT-2")
    ('teapot-blue', 'QK-POT-2')
    """
    id_, _, code = item_id.partition(BETWEEN)
    return id_ or code


def above(shelf: Shelf, shelves: Mapping[str, Shelf]) -> list[Shelf]:
    """Return the categories above one, from the root down. Stops where the data has a cycle."""
    found: dict[str, Shelf] = {}
    parent = shelves.get(shelf.parent_id or "")
    while parent is not None and parent.id not in found:
        found = {parent.id: parent, **found}
        parent = shelves.get(parent.parent_id or "")
    return list(found.values())


def _cheapest(product: Product) -> Variant:
    return min(product.variants, key=lambda variant: variant.price.amount)


def _range(prices: list[Decimal]) -> list[Decimal]:
    return [min(prices), max(prices)]


def _attributes(attributes: Mapping[str, str]) -> list[Attribute]:
    return [Attribute(name=name, values=[value]) for name, value in attributes.items()]
