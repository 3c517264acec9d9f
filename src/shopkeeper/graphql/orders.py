"""Orders: from a cart to a draft to an order, and past orders. For signed-in customers only."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import strawberry
from strawberry import UNSET

from shopkeeper.commerce.port import Order as EngineOrder
from shopkeeper.commerce.port import OrderLine, OrderState, Profile, require_orders
from shopkeeper.errors import InvalidInput
from shopkeeper.graphql.answers import Answer, worded
from shopkeeper.graphql.carts import CartHint, Discount
from shopkeeper.graphql.context import Context, Info
from shopkeeper.graphql.cost import ListSize
from shopkeeper.graphql.fields import resolved
from shopkeeper.graphql.items import ItemLike, variant_of
from shopkeeper.graphql.loaders import Sold
from shopkeeper.graphql.money import MoneyAmount, Price
from shopkeeper.graphql.pagination import (
    DEFAULT_LIMIT,
    DONE,
    Hint,
    Limit,
    MutationResponse,
    Offset,
    PageResult,
    QueryHint,
    refuse_cursor,
    window,
)
from shopkeeper.signin.cart_merge import profile_of
from shopkeeper.storage.database import Unit

SORTS = frozenset({"", "creationdate desc"})


@strawberry.type(description="A postal address.")
class Address:
    id: str = strawberry.field(description="The id.")
    first_name: str | None = strawberry.field(default=None, description="The first name.")
    middle_name: str | None = strawberry.field(default=None, description="Names between first and last.")
    last_name: str | None = strawberry.field(default=None, description="The last name.")
    street_address: str | None = strawberry.field(default=None, description="Street and number.")
    additional_street_info: str | None = strawberry.field(default=None, description="What else finds the door.")
    company: str | None = strawberry.field(default=None, description="The company.")
    postal_code: str | None = strawberry.field(default=None, description="The postal code.")
    city: str | None = strawberry.field(default=None, description="The city.")
    state: str | None = strawberry.field(default=None, description="The state or region.")
    country: str | None = strawberry.field(default=None, description="The country's ISO 3166 code.")
    billing_address: bool | None = strawberry.field(default=None, description="Whether bills go there.")
    shipping_address: bool | None = strawberry.field(default=None, description="Whether parcels go there.")
    read_only: bool | None = strawberry.field(default=None, description="Whether it cannot be changed.")
    phone: str | None = strawberry.field(default=None, description="The telephone number.")


@strawberry.type(description="So many of one thing in an order. Name and price are those of the day it was ordered.")
class OrderItem:
    line: strawberry.Private[OrderLine]
    state: strawberry.Private[OrderState]
    sold: strawberry.Private[Sold | None]
    context: strawberry.Private[Context]

    @resolved("The id.")
    def id(self) -> str:
        return self.line.id

    @resolved("The kind of entry: `product`.")
    def type(self) -> str:
        return "product"

    @resolved("How far it has come: as far as its order.")
    def status(self) -> str:
        return self.state.upper()

    @resolved("What it was called by people.")
    def display_name(self) -> str:
        return self.line.name

    @resolved("Its SKU.")
    def code(self) -> str:
        return self.line.sku

    @resolved("How many.")
    def quantity(self) -> int:
        return self.line.quantity

    @resolved("What one costs.")
    def unit_price(self) -> Price:
        return Price(money=self.line.price, locale=self.context.locale)

    @resolved("What all of them cost.")
    def total_price(self) -> Price:
        return Price(money=self.line.total, locale=self.context.locale)

    @resolved("The thing as it is sold today, or null where it is not any more.")
    def item(self) -> ItemLike | None:
        return variant_of(self.sold, self.context) if self.sold is not None else None


@strawberry.type(description="An order, or the draft of one.")
class Order:
    order: strawberry.Private[EngineOrder]
    sold: strawberry.Private[Mapping[str, Sold]]
    context: strawberry.Private[Context]

    @resolved("The id.")
    def id(self) -> str:
        return self.order.id

    @resolved("The number to name it by on the telephone.")
    def order_number(self) -> str:
        return self.order.number

    @resolved("Whether it is only a draft: nothing is ordered until `placeOrder`.")
    def draft(self) -> bool:
        return self.order.state is OrderState.DRAFT

    @resolved("How far it has come: `DRAFT` or `PLACED`.")
    def status(self) -> str:
        return self.order.state.upper()

    @resolved("When it was placed, or drafted, in ISO 8601.")
    def creation_date(self) -> str:
        return _printed(self.order.placed_at or self.order.created_at)

    @resolved("What everything costs.", directives=[ListSize(assumed_size=1)])
    def total_amount(self) -> list[MoneyAmount]:
        return [MoneyAmount(money=self.order.total, locale=self.context.locale)]

    @resolved("What was ordered.", directives=[ListSize(assumed_size=5)])
    def order_items(self) -> list[OrderItem]:
        return [
            OrderItem(line=line, state=self.order.state, sold=self.sold.get(line.variant_id), context=self.context)
            for line in self.order.lines
        ]

    @resolved("Who placed it: `CUSTOMER`, or `SUPPORT` for an agent of the shop; null for a draft.")
    def placed_by(self) -> str | None:
        if self.order.state is OrderState.DRAFT:
            return None
        return "SUPPORT" if self.order.placed_by is not None else "CUSTOMER"

    @resolved("The agent who placed it. Only agents who act as the customer can read it; null for everybody else.")
    def placed_by_agent(self) -> str | None:
        return self.order.placed_by if self.context.principal.impersonation is not None else None

    @resolved("The customer's e-mail address.")
    def email(self) -> str | None:
        identity = self.context.principal.identity
        return identity.email if identity is not None else None

    ship_method: str | None = strawberry.field(default=None, description="How it is sent, for engines that send.")
    ship_amount: MoneyAmount | None = strawberry.field(default=None, description="What sending costs.")
    tax_amount: MoneyAmount | None = strawberry.field(
        default=None, description="The tax in the total, for engines that say."
    )
    payment_method_id: str | None = strawberry.field(default=None, description="How it is paid, for engines that say.")
    payment_state: str | None = strawberry.field(default=None, description="Whether it is paid.")
    shipment_state: str | None = strawberry.field(default=None, description="Whether it was sent.")
    shipping_address: Address | None = strawberry.field(default=None, description="Where it is sent.")
    billing_address: Address | None = strawberry.field(default=None, description="Where the bill is sent.")
    federated_checkout_url: str | None = strawberry.field(
        default=None, description="Where to go on, for engines that take the order on a page of their own."
    )
    discounts: list[Discount] = strawberry.field(
        default_factory=list,
        description="The discounts that count, for engines that give any.",
        directives=[ListSize(assumed_size=1)],
    )


@strawberry.type(description="One page of orders.")
class OrdersPageResult(PageResult):
    orders: list[Order] = strawberry.field(description="The orders.")
    query_hint: QueryHint | None = strawberry.field(
        default=None, description="What the engine has to say beside the result."
    )


@strawberry.type(description="An order after a change.")
class OrderMutationResponse(MutationResponse):
    order: Order | None = strawberry.field(description="The order as it is now.")


@strawberry.type
class OrderQueries:
    @resolved(
        "The orders that the customer has placed, newest first.",
        directives=[ListSize(assumed_size=DEFAULT_LIMIT, slicing_arguments=["limit"], sized_fields=["orders"])],
    )
    async def find_orders(
        self,
        info: Info,
        *,
        offset: Offset = 0,
        limit: Limit = DEFAULT_LIMIT,
        sort_fields: Annotated[str | None, strawberry.argument(description="The order: `creationDate desc`.")] = UNSET,
        query_hint: Hint = UNSET,
    ) -> OrdersPageResult | None:
        refuse_cursor(query_hint)
        if " ".join((sort_fields or "").lower().split()) not in SORTS:
            raise InvalidInput("Orders are sorted by: creationDate desc.")
        context, (start, most) = info.context, window(offset, limit)
        page = await require_orders(context.engine).orders(offset=start, limit=most)
        orders = await _orders_of(page.items, context)
        total = page.total if page.total is not None else start + len(orders)
        return OrdersPageResult(offset=start, limit=most, count=len(orders), total=total, orders=orders)

    @resolved("One of the customer's orders. Another customer's is refused with `FORBIDDEN`, whether it exists or not.")
    async def get_order_by_id(
        self,
        info: Info,
        *,
        id: Annotated[str, strawberry.argument(description="The id.")],  # noqa: A002 - the client's word
    ) -> Order | None:
        return await _order(info.context, id)

    @resolved("One of the customer's orders by its number; refused like `getOrderById`.")
    async def get_order_by_order_number(
        self, info: Info, *, order_number: Annotated[str, strawberry.argument(description="The number.")]
    ) -> Order | None:
        return await _order(info.context, order_number)


@strawberry.type
class OrderMutations:
    @resolved(
        "A draft of what ordering the cart would come to, at today's prices. Nothing is ordered yet. While"
        " cart and prices stay the same, so does the draft."
    )
    async def check_out(
        self,
        info: Info,
        *,
        cart_id: Annotated[str, strawberry.argument(description="The cart.")],
        cart_hint: CartHint = UNSET,
    ) -> OrderMutationResponse | None:
        context = info.context
        async with context.change() as engine:
            order = await require_orders(engine).check_out(cart_id=cart_id)
        return await _answer(order, context, Answer.ORDER_DRAFTED)

    @resolved("Orders what a draft shows: all of it or nothing. Ordering twice changes nothing.")
    async def place_order(
        self,
        info: Info,
        *,
        id: Annotated[str, strawberry.argument(description="The draft.")],  # noqa: A002 - the client's word
        order_number: Annotated[
            str | None, strawberry.argument(description="The draft's number, to be checked; the shop numbers orders.")
        ] = UNSET,
    ) -> OrderMutationResponse | None:
        context = info.context
        async with context.change_in_unit() as (engine, unit):
            orders = require_orders(engine)
            # Check before placing the order, because a remote engine cannot roll back.
            if order_number and order_number != (await orders.require_order(id)).number:
                raise InvalidInput("'orderNumber' is not this draft's number; leave it out.")
            order = await orders.place(order_id=id, profile=_profile(context))
            if unit is not None:
                await _record(order, context, unit)
        if unit is None:
            await _record(order, context, None)
        return await _answer(order, context, Answer.ORDER_PLACED)


async def _record(order: EngineOrder, context: Context, unit: Unit | None) -> None:
    """Record an order that an agent has placed. Placing it again records nothing more, and what was missing."""
    impersonation, record = context.principal.impersonation, context.placed_by_agent
    if impersonation is not None and record is not None:
        await record(impersonation, order, unit)


def _profile(context: Context) -> Profile | None:
    """Return the current profile of the customer who orders; None for one whose token was issued elsewhere."""
    identity = context.principal.identity
    return profile_of(identity) if identity is not None else None


async def _order(context: Context, id_: str) -> Order:
    order = await require_orders(context.engine).require_order(id_)
    return (await _orders_of((order,), context))[0]


async def _orders_of(orders: tuple[EngineOrder, ...], context: Context) -> list[Order]:
    """Return orders as clients see them; read the products of their lines if the request asks for them."""
    sold: dict[str, Mapping[str, Sold]] = {}
    if "item" in context.asked:
        for currency in {order.total.currency for order in orders}:
            ids = [line.variant_id for order in orders if order.total.currency == currency for line in order.lines]
            sold[currency] = await context.loaders.variants(ids, currency=currency)
    return [Order(order=order, sold=sold.get(order.total.currency, {}), context=context) for order in orders]


async def _answer(order: EngineOrder, context: Context, answer: Answer) -> OrderMutationResponse:
    message = worded(answer, context.language)
    found = (await _orders_of((order,), context))[0]
    return OrderMutationResponse(code=DONE, success=True, message=message, order=found)


def _printed(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
