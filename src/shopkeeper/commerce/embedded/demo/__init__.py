"""The demo shop "Quince & Kettle": its categories, products and pictures, read from the data files beside this
module."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TypeVar

import msgspec
import yaml

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoShop:
    """The shop itself: texts for the storefront's header, and the currencies in which every price is given."""

    name: str
    tagline: str
    welcome: str
    currencies: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoCategory:
    """A category; `cover` is the id of the product whose picture represents it."""

    id: str
    name: str
    description: str
    cover: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoVariant:
    """A variant. Money is minor units per currency; weight is grams, packed."""

    sku: str
    name: str
    price: Mapping[str, int]
    stock: int
    weight: int
    attributes: Mapping[str, str] = field(default_factory=dict)
    list_price: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoProduct:
    """A product. `id` is also its slug and the name of its picture; `alt` describes the picture."""

    id: str
    name: str
    category: str
    alt: str
    description: str
    keywords: tuple[str, ...]
    attributes: Mapping[str, str]
    variants: tuple[DemoVariant, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """The whole demo shop, categories and products in the order in which they are shown."""

    shop: DemoShop
    categories: tuple[DemoCategory, ...]
    products: tuple[DemoProduct, ...]


@functools.cache
def read_catalogue() -> Catalogue:
    """Read the shop from its files: `read_catalogue().products[0].variants[0].price["EUR"]`."""
    categories = _read("categories.yaml", as_type=tuple[DemoCategory, ...])
    shelves = (_read(f"products/{category.id}.yaml", as_type=tuple[DemoProduct, ...]) for category in categories)
    return Catalogue(
        shop=_read("shop.yaml", as_type=DemoShop),
        categories=categories,
        products=tuple(product for shelf in shelves for product in shelf),
    )


def read_pictures() -> dict[str, bytes]:
    """Read every product picture as SVG, by product id. Routes look an id up here and never build a path from it."""
    pictures = (entry for entry in _folder().joinpath("pictures").iterdir() if entry.name.endswith(".svg"))
    return {picture.name.removesuffix(".svg"): picture.read_bytes() for picture in pictures}


def read_mark() -> bytes:
    """Read the shop's logo as SVG, for the page header and the browser tab."""
    return _folder().joinpath("mark.svg").read_bytes()


def _read(name: str, *, as_type: type[Value]) -> Value:
    return msgspec.convert(yaml.safe_load(_folder().joinpath(name).read_text("utf-8")), type=as_type)


def _folder() -> Traversable:
    return files(__name__)
