"""The engine port: what a commerce engine does for a shopper, in values of our own.

An engine is bound to one shopper and, where it shares our transaction, to one unit of work: `Engine.bind` returns an
`EngineSession`. The required port is small: carts, and merging a guest's cart into a customer's. Catalogue, orders and
customers are optional parts, `None` where the engine has none; `require_catalogue` and `require_orders` raise then.
Further abilities that concern no shopper (`HasRetention`, `HasSampleData`) are asked for with `isinstance`.

Money is always an integer in the currency's minor unit. The errors that the docstrings name are in `commerce/errors.py`
and in `shopkeeper/errors.py`. Values that a page creates by the dozen are msgspec structs, which are created several
times as fast as dataclasses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable
from uuid import UUID

import msgspec

from shopkeeper.commerce.errors import Unsupported
from shopkeeper.storage.cleanup import RetentionRule
from shopkeeper.storage.database import Unit

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
    """The kind of a cart's owner."""

    GUEST = "guest"
    CUSTOMER = "customer"


@dataclass(frozen=True, slots=True)
class Shopper:
    """The owner of carts in one store: a guest by the id in their sealed token, or a customer by the identity's id.

    `currency` is that of new carts and of prices in the catalogue; an existing cart keeps its own. `locale` is the
    language of mails to the shopper. `actor` is the agent who acts for the shopper: orders are marked with it.
    """

    kind: ShopperKind
    id: str
    store: str
    currency: str = "EUR"
    country: str | None = None
    locale: str = "en"
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """What an engine on another server issued for one shopper and expects with each call: opaque to us, and secret.

    `expires_at` is `None` where the engine gives no end.
    """

    token: str = field(repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """The data of an identity that an engine gets."""

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
    """A category. `picture` is a URL, or the name of one of the shop's own pictures."""

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
    """Some of many items, and the cursor of the next page. The cursor is the engine's own; routes seal it.

    `total` stops at 1,000, which then means "1,000 or more", because counting further would be expensive.
    """

    items: tuple[T, ...]
    cursor: str | None = None
    total: int | None = None


class Sort(StrEnum):
    """The order of products."""

    RELEVANCE = "relevance"
    NAME = "name"
    PRICE_ASC = "price_asc"
    PRICE_DESC = "price_desc"


class Catalogue(Protocol):
    """Products and categories of the shopper's store, priced in the shopper's currency.

    A product without a price in that currency is not listed.
    """

    async def find_products(
        self,
        *,
        text: str | None = None,
        category_id: str | None = None,
        sort: Sort = Sort.RELEVANCE,
        offset: int = 0,
        limit: int = 20,
    ) -> Page[Product]:
        """Return products that contain every word of the text, in a category (by id or slug) and those below it.

        Text and category are optional. Raises `InvalidInput` where `offset` or `limit` is out of bounds.
        """
        ...

    async def products(self, ids: Sequence[str]) -> Mapping[str, Product]:
        """Return products by id or slug, in one query or call; unknown ones are left out."""
        ...

    async def variants(self, ids: Sequence[str], currency: str | None = None) -> Mapping[str, tuple[Product, Variant]]:
        """Return variants by id or SKU with their products, in one query or call; unknown ones are left out.

        `currency` replaces the shopper's: a cart or an order keeps the currency it was created with.
        """
        ...

    async def categories(self) -> Sequence[Category]:
        """Return every category, parents before children."""
        ...


# -- carts -------------------------------------------------------------------------------------------------------------


class Line(msgspec.Struct, frozen=True):
    """A quantity of one variant. The unit price is today's, until the order is placed."""

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
    """A cart, its lines in the order in which they were added, and totals, which are computed only here.

    `version` increases with every change of the cart. `active` ends when it is ordered.
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
    """What to do with a guest's cart at sign-in."""

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
    """A line of the customer's former cart that the guest's cart replaced."""
    LEFT = "left"
    """The line stays in the guest's cart; nothing was merged."""


@dataclass(frozen=True, slots=True)
class LineReport:
    """One line of the report of a cart merge: nothing is dropped silently.

    `before` and `after` are the quantities in the customer's cart, `wanted` is the quantity that the merge asked for.
    """

    variant_id: str
    before: int
    wanted: int
    after: int
    change: Change


class Outcome(StrEnum):
    """What happened to the guest's cart as a whole."""

    MERGED = "merged"
    ADOPTED = "adopted"
    """The customer had no cart: the guest's became theirs, under its own id."""
    REPLACED = "replaced"
    KEPT = "kept"
    NOTHING = "nothing"
    """There was no guest cart to merge."""
    ALREADY_DONE = "already_done"
    """This merge was done before; this is its report again."""
    REFUSED = "refused"
    """The customer may not have that cart, and it was left alone. Engines raise instead of returning this."""
    PENDING = "pending"
    """A remote engine has not answered yet; the merge is tried again. Signing in once more with the token of the same
    guest returns its report."""


@dataclass(frozen=True, slots=True)
class CartMergeReport:
    """The report of a cart merge. `cart_id` is the customer's cart after it, if any."""

    outcome: Outcome
    cart_id: str | None
    lines: tuple[LineReport, ...] = field(default_factory=tuple)


class Carts(Protocol):
    """The carts of one guest or customer.

    Raises `NotYours` for the cart of another shopper and for an unknown one alike. The id of a cart that was merged
    into another cart leads its owner to that other cart.
    """

    async def current(self) -> Cart | None:
        """Return the shopper's active cart that changed last, or `None`."""
        ...

    async def require(self, cart_id: str) -> Cart:
        """Return one of the shopper's carts by id, active or ordered. Raises `NotYours`."""
        ...

    async def create(self) -> Cart:
        """Create an empty cart in the shopper's currency, which it keeps, and make it the current one.

        Returns an existing empty cart of the shopper where there is one, so that repeated calls create no rows. Raises
        `TooManyCarts`, and `TokenInvalid` as `add` does.
        """
        ...

    async def add(self, *, cart_id: str | None, variant_id: str, quantity: int) -> Cart:
        """Add a variant to a cart; without `cart_id` to the current one, or to a new one.

        `variant_id` is the id or SKU of a variant, or the id of a product, which adds the first of its variants in the
        order of the catalogue, in stock or not.

        Raises `NotYours`, `NotFound`, `QuantityInvalid`, `OutOfStock`, `CurrencyMismatch`, `CartFull`, `CartClosed`;
        and `TokenInvalid` for a guest whose cart was merged into a customer's, because that token is used up.
        """
        ...

    async def change(self, *, cart_id: str, line_id: str, quantity: int) -> Cart:
        """Set a line's quantity; 0 removes the line. Raises as `add` does."""
        ...

    async def remove(self, *, cart_id: str, line_id: str) -> Cart:
        """Remove a line. Raises `NotYours`, `NotFound`, `CartClosed`, `TokenInvalid`."""
        ...


# -- orders and customers ----------------------------------------------------------------------------------------------


class OrderState(StrEnum):
    """The state of an order."""

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
    """An order. `customer_id` is the shopper's id, as in `Shopper`. `locale` is the language of mails about it, None if
    it is not known. `placed_by` is the agent who placed it for the customer; None where the customer did.
    """

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
    locale: str | None = None
    placed_by: str | None = None


class Orders(Protocol):
    """The orders of a signed-in customer. Every method raises `Unauthenticated` for a guest."""

    async def check_out(self, *, cart_id: str) -> Order:
        """Return a draft order of a cart at today's prices; the same draft while cart and prices stay the same.

        A new draft replaces the cart's former one. Raises `NotYours`, `CartEmpty`, `CartClosed`, `OutOfStock`.
        """
        ...

    async def place(self, *, order_id: str, profile: Profile | None) -> Order:
        """Place a draft: take the stock of all lines or of none, and close the cart. Placing twice changes nothing.

        `profile` is the customer's current one, whose address may have changed since the sign-in. Where it is `None`
        the engine uses its own record of the customer.

        Raises `NotYours`; `CartChanged` where cart or prices differ from the draft; `OutOfStock`, which lists every
        line that is short.
        """
        ...

    async def orders(self, *, offset: int = 0, limit: int = 20) -> Page[Order]:
        """Return the orders that the customer has placed, newest first."""
        ...

    async def require_order(self, order_id: str) -> Order:
        """Return one of the customer's orders, draft or placed, by id or number. Raises `NotYours`."""
        ...


class Customers(Protocol):
    """The engine's own record of the shopper."""

    async def ensure(self, profile: Profile) -> Customer:
        """Create the customer of an identity in the shopper's store, or update the record."""
        ...

    async def customer(self) -> Customer | None:
        """Return the shopper's record, or `None` for a guest and for a customer that the engine does not know."""
        ...


# -- the engine --------------------------------------------------------------------------------------------------------


class EngineSession(Protocol):
    """An engine bound to one shopper, and to the caller's unit of work where it shares our transaction.

    It lasts as long as that unit, and serves one caller at a time.
    """

    @property
    def shopper(self) -> Shopper: ...

    @property
    def carts(self) -> Carts: ...

    @property
    def catalogue(self) -> Catalogue | None: ...

    @property
    def orders(self) -> Orders | None: ...

    @property
    def customers(self) -> Customers | None: ...


class Engine(Protocol):
    """A commerce engine: creates sessions for shoppers, and does what concerns no shopper or two.

    `shares_transaction` says whether its writes are part of our unit of work, and commit and roll back with it. Where
    it does not, every call goes to another server: `unit` is `None` everywhere, and no method may be called while a
    transaction of ours is open.

    >>> cart = await engine.bind(unit, shopper).carts.current()  # doctest: +SKIP
    """

    @property
    def name(self) -> str: ...

    @property
    def shares_transaction(self) -> bool: ...

    def bind(self, unit: Unit | None, shopper: Shopper, grant: Grant | None = None) -> EngineSession:
        """Bind the engine to a shopper, without I/O.

        `grant` is what the engine issued for this shopper, `None` where it issues none. Raises `ValueError` where an
        engine that shares our transaction is bound without a unit.
        """
        ...

    async def merge_guest_cart(
        self,
        unit: Unit | None,
        *,
        guest: Shopper,
        customer: Shopper,
        cart_id: str | None,
        mode: MergeMode,
        idempotency_key: str | None = None,
    ) -> CartMergeReport:
        """Merge a guest's cart into a customer's, as `merge.py` decides, wholly or not at all.

        - `cart_id` is `None`: the guest's cart is ignored (`NOTHING`, or `KEPT` where `mode` is `KEEP`);
        - the customer has no active cart: the guest's becomes theirs under its own id (`ADOPTED`);
        - done before for this guest, customer and cart: the same lines again (`ALREADY_DONE`), and today's cart;
        - the cart is the customer's own already: `NOTHING`.

        `idempotency_key` is the same for every attempt at one merge: an engine on another server that received the key
        before answers as it did then. Raises `NotYours` where the cart is neither the guest's nor the customer's, and
        `TokenInvalid` where a cart of this guest was merged into another customer's before.
        """
        ...

    async def forget(self, unit: Unit | None, identity_id: str) -> None:
        """Delete the engine's data about a deleted identity, in every store, and the carts and drafts that were never
        ordered.

        Orders stay, for accounting: they contain the identity's id and no other data of it. An unknown id is no error,
        and neither is a second call for the same one: an engine that does not share our transaction is called by the
        outbox after the deletion, at least once.
        """
        ...


def require_catalogue(session: EngineSession) -> Catalogue:
    """Return the engine's catalogue. Raises `Unsupported` where it has none."""
    return _required(session.catalogue, what="catalogue")


def require_orders(session: EngineSession) -> Orders:
    """Return the engine's orders. Raises `Unsupported` where it has none."""
    return _required(session.orders, what="orders")


def _required(part: T | None, *, what: str) -> T:
    if part is None:
        raise Unsupported(f"This shop's engine has no {what} of its own.")
    return part


class Events(Protocol):
    """Where an engine that shares our transaction records its events, in the same transaction: the outbox.

    Topics are `order.placed` and `cart.handed_over`; the key is the customer's id, which keeps the events of one
    customer in order.
    """

    async def add(self, unit: Unit, topic: str, *, key: str, payload: Mapping[str, Any]) -> object:
        """Queue one event."""
        ...


@runtime_checkable
class HasRetention(Protocol):
    """An engine that stores rows in our database which expire."""

    def retention_rules(self, *, guest_lifespan: timedelta) -> Sequence[RetentionRule]:
        """Return the retention rules. A guest's token lasts for `guest_lifespan`, and may be renewed."""
        ...


@runtime_checkable
class KnowsGuestsOfCarts(Protocol):
    """An engine that knows whose a guest's cart is: an agent finds a guest by it."""

    async def guest_of_cart(self, unit: Unit, *, store: str, cart_id: UUID) -> UUID | None:
        """Return the guest who has an open cart; None where there is none, and for a customer's."""
        ...


@runtime_checkable
class HasSampleData(Protocol):
    """An engine that comes with a sample catalogue."""

    async def load_sample_data(self, unit: Unit, store: str) -> bool:
        """Load the sample catalogue into a store that has no products; return whether it did."""
        ...
