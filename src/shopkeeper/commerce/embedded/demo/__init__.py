"""The demo shop "Quince & Kettle": its shelves, products and pictures, read from the data files beside this module."""

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
    """Who the shop is: words for the storefront's head and the currencies every price is given in."""

    name: str
    tagline: str
    welcome: str
    currencies: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoCategory:
    """One shelf; `cover` is the id of the product whose picture stands for it."""

    id: str
    name: str
    description: str
    cover: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoVariant:
    """What is put in a cart. Money is minor units per currency; weight is grams, packed."""

    sku: str
    name: str
    price: Mapping[str, int]
    stock: int
    weight: int
    attributes: Mapping[str, str] = field(default_factory=dict)
    list_price: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoProduct:
    """One product page. `id` is also its slug and the name of its picture; `alt` says what the picture shows."""

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
    """Every product picture as SVG, by product id: a door looks an id up here and never builds a path from one."""
    pictures = (entry for entry in _folder().joinpath("pictures").iterdir() if entry.name.endswith(".svg"))
    return {picture.name.removesuffix(".svg"): picture.read_bytes() for picture in pictures}


def read_mark() -> bytes:
    """The shop's sign as SVG, for the page head and the browser tab."""
    return _folder().joinpath("mark.svg").read_bytes()


def _read(name: str, *, as_type: type[Value]) -> Value:
    return msgspec.convert(yaml.safe_load(_folder().joinpath(name).read_text("utf-8")), type=as_type)


def _folder() -> Traversable:
    return files(__name__)
