"""The shopper's cart: its types, its query and its mutations."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Annotated

import strawberry
from babel.numbers import list_currencies
from strawberry import UNSET

from shopkeeper.commerce.port import Cart as EngineCart
from shopkeeper.commerce.port import Line, Shopper
from shopkeeper.errors import InvalidInput
from shopkeeper.graphql.answers import Answer, worded
from shopkeeper.graphql.context import Context, Info
from shopkeeper.graphql.cost import ListSize
from shopkeeper.graphql.fields import resolved
from shopkeeper.graphql.items import ItemLike, reference, variant_of
from shopkeeper.graphql.loaders import Sold
from shopkeeper.graphql.money import MoneyAmount, Price
from shopkeeper.graphql.pagination import DONE, Attribute, AttributeInput, MutationResponse

CURRENCIES = frozenset(list_currencies())


@strawberry.enum(description="What a discount is given on.")
class DiscountType(enum.Enum):
    Cart = "Cart"
    Product = "Product"
    Promotion = "Promotion"


@strawberry.type(description="How much a discount is worth.")
class DiscountValue:
    money_amounts: list[MoneyAmount] | None = strawberry.field(
        default=None, description="An amount, in each currency.", directives=[ListSize(assumed_size=1)]
    )
    numerical_amount: Decimal | None = strawberry.field(default=None, description="A share.")
    type: str | None = strawberry.field(default=None, description="`absolute` or `relative`.")


@strawberry.type(description="A discount that counts.")
class Discount:
    code: str | None = strawberry.field(default=None, description="The code that it was asked for with.")
    target_ids: list[str] | None = strawberry.field(default=None, description="The entries that it counts for.")
    type: DiscountType | None = strawberry.field(default=None, description="What it is given on.")
    value: DiscountValue | None = strawberry.field(default=None, description="How much it is worth.")


@strawberry.type(description="So many of one thing in a cart.")
class CartEntry:
    line: strawberry.Private[Line]
    sold: strawberry.Private[Sold | None]
    context: strawberry.Private[Context]

    @resolved("The id, by which `updateCart` and `removeFromCart` know it.")
    def id(self) -> str:
        return self.line.id

    @resolved("How many.")
    def quantity(self) -> int:
        return self.line.quantity

    @resolved("What one costs without any reduction.")
    def list_price(self) -> Price:
        return Price(money=self.line.list_price, locale=self.context.locale)

    @resolved("What one costs now.")
    def purchase_price(self) -> Price:
        return Price(money=self.line.price, locale=self.context.locale)

    @resolved("What all of them cost without any reduction.")
    def total_list_price(self) -> Price:
        return Price(money=self.line.list_price * self.line.quantity, locale=self.context.locale)

    @resolved("What all of them cost now.")
    def total_purchase_price(self) -> Price:
        return Price(money=self.line.total, locale=self.context.locale)

    custom_attrs: list[Attribute] = strawberry.field(
        default_factory=list,
        description="Attributes of the entry, for engines that keep any.",
        directives=[ListSize(assumed_size=1)],
    )

    @resolved(
        "The thing: one variant, or none where it is not sold any more.",
        directives=[ListSize(assumed_size=1)],
    )
    def items(self) -> list[ItemLike]:
        return [variant_of(self.sold, self.context)] if self.sold is not None else []


@strawberry.type(description="A cart. Its currency is the one it began with; its totals are the server's.")
class Cart:
    cart: strawberry.Private[EngineCart]
    sold: strawberry.Private[Mapping[str, Sold]]
    context: strawberry.Private[Context]

    @resolved("The id. A cart that was merged into another goes on leading to that one.")
    def id(self) -> str:
        return self.cart.id

    @resolved("How many things are in it.")
    def total_quantity(self) -> int:
        return self.cart.quantity

    @resolved("A number that grows with every change.")
    def revision(self) -> int:
        return self.cart.version

    @resolved("What everything costs without any reduction.")
    def total_list_price(self) -> Price:
        return Price(money=self.cart.list_total, locale=self.context.locale)

    @resolved("What everything costs now.")
    def total_purchase_price(self) -> Price:
        return Price(money=self.cart.total, locale=self.context.locale)

    @resolved("Whether it can still be changed and ordered.")
    def active(self) -> bool:
        return self.cart.active

    @resolved("`ACTIVE` or `ORDERED`.")
    def state(self) -> str:
        return "ACTIVE" if self.cart.active else "ORDERED"

    @resolved("What is in it, in the order it was put there.", directives=[ListSize(assumed_size=10)])
    def entries(self) -> list[CartEntry]:
        return [
            CartEntry(line=line, sold=self.sold.get(line.variant_id), context=self.context) for line in self.cart.lines
        ]

    discounts: list[Discount] = strawberry.field(
        default_factory=list,
        description="The discounts that count, for engines that give any.",
        directives=[ListSize(assumed_size=1)],
    )


@strawberry.type(description="A cart after a change.")
class CartMutationResponse(MutationResponse):
    cart: Cart | None = strawberry.field(description="The cart as it is now.")


@strawberry.input(
    description="Hints for engines that know branches and channels. The store is chosen by the request's headers."
)
class CartHintInput:
    store_key: str | None = strawberry.field(default=UNSET, description="The engine's name for a branch.")
    distribution_channel: str | None = strawberry.field(default=UNSET, description="The engine's name for a channel.")


@strawberry.input(description="What a new cart is to be.")
class CreateCartInput:
    currency: str | None = strawberry.field(default=UNSET, description="An ISO 4217 code; the store's if left out.")
    country: str | None = strawberry.field(
        default=UNSET,
        description="An ISO 3166 code, for engines that price by country; the embedded shop does not, and passes it"
        " over. The store's if left out.",
    )
    customer_email: str | None = strawberry.field(
        default=UNSET, description="Has no effect: a cart's address is that of the customer who orders it."
    )
    old_cart_id: str | None = strawberry.field(
        default=UNSET, description="Has no effect: the old cart stays, and sign-in hands it over."
    )


@strawberry.input(description="What to put into a cart.")
class AddToCartInput:
    cart_id: str | None = strawberry.field(
        default=UNSET, description="The cart; the current one if left out, and a new one if there is none."
    )
    item_id: str = strawberry.field(
        description="The variant's id or SKU, or the product's id for its first variant; `id___code` will do as well."
    )
    quantity: int | None = strawberry.field(default=1, description="How many.")
    custom_attrs: list[AttributeInput] | None = strawberry.field(
        default=UNSET, description="For engines that keep attributes of entries; refused where they would be lost."
    )


@strawberry.input(description="What to change in a cart.")
class UpdateCartInput:
    cart_id: str = strawberry.field(description="The cart.")
    entry_id: str | None = strawberry.field(default=UNSET, description="The entry.")
    quantity: int | None = strawberry.field(default=UNSET, description="How many there are to be; 0 takes it out.")
    discount_codes: list[str | None] | None = strawberry.field(
        default=UNSET, description="For engines that give discounts; refused where they would be lost."
    )
    custom_attrs: list[AttributeInput] | None = strawberry.field(
        default=UNSET, description="For engines that keep attributes of entries; refused where they would be lost."
    )


@strawberry.input(description="What to take out of a cart.")
class RemoveFromCartInput:
    cart_id: str = strawberry.field(description="The cart.")
    entry_id: str | None = strawberry.field(default=UNSET, description="The entry.")
    discount_codes: list[str | None] | None = strawberry.field(
        default=UNSET, description="For engines that give discounts; refused where they would be lost."
    )


CartHint = Annotated[CartHintInput | None, strawberry.argument(description="Hints for the engine.")]


@strawberry.type
class CartQueries:
    @resolved(
        "The shopper's cart: the one that is named, or the one that changed last. Null where there is none"
        " yet; the first write begins one. Another shopper's is refused with `FORBIDDEN`, whether it exists or not."
    )
    async def get_cart(
        self,
        info: Info,
        *,
        id: Annotated[str | None, strawberry.argument(description="The cart.")] = UNSET,  # noqa: A002 - the client's word
        cart_hint: CartHint = UNSET,
    ) -> Cart | None:
        context = info.context
        if id:
            return await cart_of(await context.engine.carts.require(id), context)
        current = await context.engine.carts.current()
        return await cart_of(current, context) if current is not None else None


@strawberry.type
class CartMutations:
    @resolved("Begins a new cart.")
    async def create_cart(
        self,
        info: Info,
        *,
        create_cart_input: Annotated[CreateCartInput, strawberry.argument(description="What it is to be.")],
        cart_hint: CartHint = UNSET,
    ) -> CartMutationResponse | None:
        context = info.context
        async with context.change(_shopper(context.shopper, create_cart_input)) as engine:
            cart = await engine.carts.create()
        return await _answer(cart, context, Answer.CART_CREATED)

    @resolved("Puts something into a cart; more of it, where it is in there already.")
    async def add_to_cart(
        self,
        info: Info,
        *,
        add_to_cart_input: Annotated[AddToCartInput, strawberry.argument(description="What to put where.")],
        cart_hint: CartHint = UNSET,
    ) -> CartMutationResponse | None:
        context, asked = info.context, add_to_cart_input
        _refuse_lost("customAttrs", asked.custom_attrs)
        async with context.change() as engine:
            cart = await engine.carts.add(
                cart_id=asked.cart_id or None,
                variant_id=reference(asked.item_id),
                quantity=1 if asked.quantity is None else asked.quantity,
            )
        return await _answer(cart, context, Answer.CART_ADDED)

    @resolved("Changes how many of something are in a cart.")
    async def update_cart(
        self,
        info: Info,
        *,
        update_cart_input: Annotated[UpdateCartInput, strawberry.argument(description="What to change.")],
        cart_hint: CartHint = UNSET,
    ) -> CartMutationResponse | None:
        context, asked = info.context, update_cart_input
        _refuse_lost("customAttrs", asked.custom_attrs)
        _refuse_lost("discountCodes", asked.discount_codes)
        if not asked.entry_id or asked.quantity in {None, UNSET}:
            raise InvalidInput("Say what to change: 'entryId' and 'quantity' are both needed.")
        async with context.change() as engine:
            cart = await engine.carts.change(cart_id=asked.cart_id, line_id=asked.entry_id, quantity=asked.quantity)
        return await _answer(cart, context, Answer.CART_CHANGED)

    @resolved("Takes something out of a cart.")
    async def remove_from_cart(
        self,
        info: Info,
        *,
        remove_from_cart_input: Annotated[RemoveFromCartInput, strawberry.argument(description="What to take out.")],
        cart_hint: CartHint = UNSET,
    ) -> CartMutationResponse | None:
        context, asked = info.context, remove_from_cart_input
        _refuse_lost("discountCodes", asked.discount_codes)
        if not asked.entry_id:
            raise InvalidInput("Say what to take out: 'entryId' is needed.")
        async with context.change() as engine:
            cart = await engine.carts.remove(cart_id=asked.cart_id, line_id=asked.entry_id)
        return await _answer(cart, context, Answer.CART_REMOVED)


async def cart_of(cart: EngineCart, context: Context) -> Cart:
    """Return a cart as clients see it; read the products of its lines if the request asks for them."""
    wanted = [line.variant_id for line in cart.lines] if "items" in context.asked else []
    sold = await context.loaders.variants(wanted, currency=cart.currency) if wanted else {}
    return Cart(cart=cart, sold=sold, context=context)


async def _answer(cart: EngineCart, context: Context, answer: Answer) -> CartMutationResponse:
    message = worded(answer, context.language)
    return CartMutationResponse(code=DONE, success=True, message=message, cart=await cart_of(cart, context))


def _shopper(shopper: Shopper, asked: CreateCartInput) -> Shopper:
    currency = asked.currency or shopper.currency
    if currency not in CURRENCIES:
        raise InvalidInput("'currency' must be an ISO 4217 code: three capital letters, such as EUR.")
    return replace(shopper, currency=currency, country=asked.country or shopper.country)


def _refuse_lost(name: str, value: Sequence[object] | None) -> None:
    """Refuse a value that the engine cannot store, because the client relies on it being stored."""
    if value:
        raise InvalidInput(f"This shop's engine does not keep '{name}'; leave it out.")
