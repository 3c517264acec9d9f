"""The engine port: what a commerce engine does for a shopper, in values of our own.

The required port is small: carts, and handing a guest's cart to a customer. Catalogue, orders and customers are further
parts that an engine may also have, and `parts.py` says so where it has not. What it can do beside shopping (`TidiesUp`,
`ShowsADemo`) it is asked for with `isinstance`. Money is always an integer in the currency's minor unit. The refusals
that the docstrings name are in `refusals.py` and in the house's `errors.py`.

Values that a page makes by the dozen are structs of msgspec, which are made several times as fast as dataclasses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import msgspec

from shopkeeper.storage.database import Unit
from shopkeeper.storage.upkeep import Chore

T = TypeVar("T")


class Money(msgspec.Struct, frozen=True):
    """An amount in minor units (cents, pence) of an ISO 4217 currency."""

    amount: int
    currency: str

    def __mul__(self, quantity: int) -> "Money":
        return Money(self.amount * quantity, self.currency)

    def __add__(self, other: "Money") -> "Money":
        if other.currency != self.currency:
            raise ValueError(f"{self.currency} and {other.currency} cannot be added")
        return Money(self.amount + other.amount, self.currency)


class ShopperKind(StrEnum):
    """Whose cart it is."""

    GUEST = "guest"
    CUSTOMER = "customer"


@dataclass(frozen=True, slots=True)
class Shopper:
    """Who shops, in which store: a guest by the id in their sealed token, or a customer by the identity's id.

    `currency` is that of new carts and of prices in the catalogue; a cart that exists keeps its own. `locale` is the
    language that they are written to in.
    """

    kind: ShopperKind
    id: str
    store: str
    currency: str = "EUR"
    country: str | None = None
    locale: str = "en"


@dataclass(frozen=True, slots=True)
class Profile:
    """What an engine learns of an identity."""

    identity_id: str
    email: str | None
    first_name: str | None = None
    last_name: str | None = None


@dataclass(frozen=True, slots=True)
class Customer:
    """The engine's record for an identity."""

    id: str
    identity_id: str
    email: str | None
    first_name: str | None
    last_name: str | None
    created_at: datetime


# -- catalogue ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Category:
    """A shelf of the shop. `picture` is a URL, or the name of one of the shop's own pictures."""

    id: str
    name: str
    slug: str
    description: str = ""
    parent_id: str | None = None
    picture: str | None = None


class Variant(msgspec.Struct, frozen=True):
    """What is put into a cart: a product in one size, colour or the like."""

    id: str
    sku: str
    name: str
    attributes: Mapping[str, str]
    price: Money
    list_price: Money
    stock: int


class Product(msgspec.Struct, frozen=True):
    """A product with its variants, priced in one currency. `picture` is a URL, or the name of one of the shop's own."""

    id: str
    slug: str
    name: str
    description: str
    category_ids: tuple[str, ...]
    picture: str | None
    attributes: Mapping[str, str]
    variants: tuple[Variant, ...]
    picture_alt: str = ""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of many, and where to go on. `cursor` is the engine's own; doors seal it.

    `total` stops at 1,000, which then means "1,000 or more": counting further would cost more than it tells.
    """

    items: tuple[T, ...]
    cursor: str | None = None
    total: int | None = None


class Sort(StrEnum):
    """How products are ordered."""

    RELEVANCE = "relevance"
    NAME = "name"
    PRICE_ASC = "price_asc"
    PRICE_DESC = "price_desc"


class Catalogue(Protocol):
    """Products and categories, each in one store and one currency. A product without a price in it is not shown."""

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
        """Products that hold every word of the text, in a category (by id or slug) and those below it.

        Text and category may be left out. Raises `InvalidInput` where `offset` or `limit` is out of bounds.
        """
        ...

    async def products(self, unit: Unit, shopper: Shopper, ids: Sequence[str]) -> Mapping[str, Product]:
        """Products by id or slug, in one query; unknown ones are left out."""
        ...

    async def variants(self, unit: Unit, shopper: Shopper, ids: Sequence[str]) -> Mapping[str, tuple[Product, Variant]]:
        """Variants by id or SKU with their products, in one query; unknown ones are left out."""
        ...

    async def categories(self, unit: Unit, shopper: Shopper) -> Sequence[Category]:
        """Every category, parents before children."""
        ...


# -- carts -------------------------------------------------------------------------------------------------------------


class Line(msgspec.Struct, frozen=True):
    """So many of one variant. The unit price is today's, until the order is placed."""

    id: str
    variant_id: str
    quantity: int
    price: Money
    list_price: Money

    @property
    def total(self) -> Money:
        return self.price * self.quantity


@dataclass(frozen=True, slots=True)
class Cart:
    """A cart, its lines in the order they were added, and totals computed here and nowhere else.

    `version` grows with every change of the cart. `active` ends when it is ordered.
    """

    id: str
    owner: Shopper
    currency: str
    lines: tuple[Line, ...]
    version: int
    active: bool
    created_at: datetime
    updated_at: datetime

    @property
    def quantity(self) -> int:
        return sum(line.quantity for line in self.lines)

    @property
    def total(self) -> Money:
        return Money(sum(line.total.amount for line in self.lines), self.currency)

    @property
    def list_total(self) -> Money:
        return Money(sum(line.list_price.amount * line.quantity for line in self.lines), self.currency)


class MergeMode(StrEnum):
    """What becomes of a guest's cart at sign-in."""

    MERGE = "merge"
    REPLACE = "replace"
    KEEP = "keep"
    """The guest's cart is left alone, beside the customer's."""


class Change(StrEnum):
    """What happened to one line of the guest's cart."""

    ADDED = "added"
    RAISED = "raised"
    UNCHANGED = "unchanged"
    LIMITED_BY_STOCK = "limited_by_stock"
    OUT_OF_STOCK = "out_of_stock"
    NO_PRICE_IN_CURRENCY = "no_price_in_currency"
    REPLACED = "replaced"
    """A line of the customer's former cart that gave way to the guest's cart."""
    LEFT = "left"
    """The line stays in the guest's cart; nothing was handed over."""


@dataclass(frozen=True, slots=True)
class LineReport:
    """One line of the report of a hand-over: nothing is dropped silently.

    `before` and `after` are the quantities in the customer's cart, `wanted` is what the hand-over asked for.
    """

    variant_id: str
    before: int
    wanted: int
    after: int
    change: Change


class Outcome(StrEnum):
    """What became of the guest's cart as a whole."""

    MERGED = "merged"
    ADOPTED = "adopted"
    """The customer had no cart: the guest's became theirs, under its own id."""
    REPLACED = "replaced"
    KEPT = "kept"
    NOTHING = "nothing"
    """There was no guest cart to hand over."""
    ALREADY_DONE = "already_done"
    """This hand-over was done before; this is its report again."""
    REFUSED = "refused"
    """Whoever signed in may not have that cart, and it was left alone. Engines raise instead of answering this."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """The report of a guest's cart becoming a customer's. `cart_id` is the cart the customer has after it, if any."""

    outcome: Outcome
    cart_id: str | None
    lines: tuple[LineReport, ...] = field(default_factory=tuple)


class Carts(Protocol):
    """The carts of guests and customers. A cart of somebody else is refused with `NotYours`, whether it exists or not.

    A cart that was merged into another keeps resolving to that other one, for its owner.
    """

    async def current(self, unit: Unit, shopper: Shopper) -> Cart | None:
        """The shopper's active cart that changed last."""
        ...

    async def require(self, unit: Unit, shopper: Shopper, cart_id: str) -> Cart:
        """A cart of the shopper's by id, active or ordered. Raises `NotYours`."""
        ...

    async def create(self, unit: Unit, shopper: Shopper) -> Cart:
        """An empty cart in the shopper's currency, which stays its currency. It is the current one from now on.

        An empty one that the shopper has already is taken, so that asking again costs nothing. Raises `TooManyCarts`,
        and `TokenInvalid` as `add` does.
        """
        ...

    async def add(self, unit: Unit, shopper: Shopper, *, cart_id: str | None, variant_id: str, quantity: int) -> Cart:
        """Adds a variant (by id or SKU) to a cart: the current one, or a new one, where none is named.

        Raises `NotYours`, `NotFound`, `QuantityInvalid`, `OutOfStock`, `CurrencyMismatch`, `CartFull`, `CartClosed`;
        and `TokenInvalid` for a guest whose cart was handed over: that token has done its work.
        """
        ...

    async def change(self, unit: Unit, shopper: Shopper, *, cart_id: str, line_id: str, quantity: int) -> Cart:
        """Sets a line's quantity; 0 removes it. Raises as `add` does."""
        ...

    async def remove(self, unit: Unit, shopper: Shopper, *, cart_id: str, line_id: str) -> Cart:
        """Takes a line out. Raises `NotYours`, `NotFound`, `CartClosed`, `TokenInvalid`."""
        ...

    async def hand_over(
        self, unit: Unit, *, guest: Shopper, customer: Shopper, cart_id: str | None, mode: MergeMode
    ) -> HandOver:
        """Makes the guest's cart the customer's, as `merge.py` decides and in one transaction.

        - no `cart_id`: the guest's cart is ignored (`NOTHING`, or `KEPT` where that was asked for);
        - the customer has no active cart: the guest's becomes theirs under its own id (`ADOPTED`);
        - done before, for this guest, customer and cart: the same lines again (`ALREADY_DONE`), and today's cart;
        - the cart is the customer's own already: `NOTHING`.

        Raises `NotYours` where the cart is neither's, and `TokenInvalid` where this guest was handed over to another
        customer before.
        """
        ...


# -- orders and customers ----------------------------------------------------------------------------------------------


class OrderState(StrEnum):
    """How far an order has come."""

    DRAFT = "draft"
    PLACED = "placed"


@dataclass(frozen=True, slots=True)
class OrderLine:
    """A line as it was ordered: name and price are copied, so that later changes of the catalogue change no order."""

    id: str
    variant_id: str
    sku: str
    name: str
    quantity: int
    price: Money

    @property
    def total(self) -> Money:
        return self.price * self.quantity


@dataclass(frozen=True, slots=True)
class Order:
    """What was ordered, by whom, for how much. `customer_id` is the shopper's id, as in `Shopper`."""

    id: str
    number: str
    customer_id: str
    store: str
    state: OrderState
    lines: tuple[OrderLine, ...]
    total: Money
    cart_id: str
    created_at: datetime
    placed_at: datetime | None


class Orders(Protocol):
    """Orders of signed-in customers; a guest is refused with `Unauthenticated`."""

    async def check_out(self, unit: Unit, shopper: Shopper, *, cart_id: str) -> Order:
        """A draft order of a cart at today's prices; while cart and prices stay the same, so does the draft.

        A new draft takes the place of the cart's former one.

        Raises `NotYours`, `CartEmpty`, `CartClosed`, `OutOfStock`.
        """
        ...

    async def place(self, unit: Unit, shopper: Shopper, *, order_id: str, profile: Profile | None) -> Order:
        """Places a draft: takes the stock of all lines or of none, closes the cart. Placing twice changes nothing.

        `profile` is who orders, as they are today: they may have another address since they signed in. Without one the
        engine's own record of them serves.

        Raises `NotYours`; `CartChanged` where cart or prices are not what was drafted; `OutOfStock`, which names every
        line that is short.
        """
        ...

    async def orders(self, unit: Unit, shopper: Shopper, *, offset: int = 0, limit: int = 20) -> Page[Order]:
        """The orders the shopper has placed, newest first."""
        ...

    async def require_order(self, unit: Unit, shopper: Shopper, order_id: str) -> Order:
        """One of the shopper's orders, draft or placed, by id or number. Raises `NotYours`."""
        ...


class Customers(Protocol):
    """The engine's customers."""

    async def ensure(self, unit: Unit, shopper: Shopper, profile: Profile) -> Customer:
        """The customer of an identity, made or brought up to date."""
        ...

    async def customer(self, unit: Unit, shopper: Shopper) -> Customer | None:
        """The customer who is shopping."""
        ...

    async def forget(self, unit: Unit, identity_id: str) -> None:
        """Deletes what is known of an identity that is gone, in every store, and what it never ordered.

        Its orders stay, for the books: they name the identity's id and nothing else of it.
        """
        ...


class Events(Protocol):
    """Where an engine tells what happened, in the transaction in which it happened: the outbox.

    Topics are `order.placed` and `cart.handed_over`; the key is the customer's id, so that one customer's events keep
    their order.
    """

    async def add(self, unit: Unit, topic: str, *, key: str, payload: Mapping[str, Any]) -> object:
        """Queues one event."""
        ...


class Engine(Protocol):
    """A commerce engine: carts, and each further part or none in its place."""

    @property
    def name(self) -> str: ...

    @property
    def carts(self) -> Carts: ...

    @property
    def catalogue(self) -> Catalogue | None: ...

    @property
    def orders(self) -> Orders | None: ...

    @property
    def customers(self) -> Customers | None: ...


@runtime_checkable
class TidiesUp(Protocol):
    """An engine that keeps things here which are over one day."""

    def chores(self, *, guest_lifespan: timedelta) -> Sequence[Chore]:
        """What is to be deleted, and when. A guest's token lasts for `guest_lifespan`, and is renewed until then."""
        ...


@runtime_checkable
class ShowsADemo(Protocol):
    """An engine that has a sample catalogue."""

    async def stock_demo(self, unit: Unit, store: str) -> bool:
        """Fills a store's shelves with it where they are empty, and says whether they were."""
        ...
