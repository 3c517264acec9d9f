"""The refusals of commerce, beyond those of `shopkeeper/errors.py`.

BadRequest
└── InvalidInput
    └── QuantityInvalid   not a quantity that can be bought
Conflict                  409
├── OutOfStock            lists the lines that are short, and how many are left of each
├── CurrencyMismatch      not sold in the currency of this cart
├── CartEmpty             nothing to order
├── CartFull              more different variants than a cart holds
├── TooManyCarts          more open carts than a shopper may have at once
├── CartClosed            ordered already
└── CartChanged           different from the draft
Unsupported               501 the engine has no such part
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from shopkeeper.errors import Conflict, InvalidInput, Refusal


class QuantityInvalid(InvalidInput):
    """A quantity below one, or above what a cart takes of one variant."""

    code = "quantity_invalid"
    graphql_code = "QUANTITY_INVALID"
    message = "This is not a quantity that can be ordered."


@dataclass(frozen=True, slots=True)
class Shortage:
    """A line that asks for more than there is."""

    variant_id: str
    name: str
    wanted: int
    left: int

    @property
    def sentence(self) -> str:
        return f"only {self.left} left of {self.name}" if self.left else f"{self.name} is sold out"


class OutOfStock(Conflict):
    """There is less in stock than was asked for."""

    code = "out_of_stock"
    graphql_code = "OUT_OF_STOCK"
    message = "There is not enough in stock."

    def __init__(self, shortages: Sequence[Shortage]) -> None:
        sentence = "; ".join(shortage.sentence for shortage in shortages)
        super().__init__(
            f"Not enough in stock: {sentence}.",
            details={"lines": [asdict(shortage) for shortage in shortages]},
            parameters={"shortages": [asdict(shortage) for shortage in shortages]},
        )
        self.shortages = tuple(shortages)


class CurrencyMismatch(Conflict):
    """The variant has no price in the currency of the cart."""

    code = "currency_mismatch"
    graphql_code = "CURRENCY_MISMATCH"
    message = "This is not sold in the currency of the cart."


class CartEmpty(Conflict):
    """An empty cart cannot be ordered."""

    code = "cart_empty"
    graphql_code = "CART_EMPTY"
    message = "The cart is empty: put something into it first."


class CartFull(Conflict):
    """More lines than a cart holds."""

    code = "cart_full"
    graphql_code = "CART_FULL"
    message = "The cart is full: order what is in it, or take something out."


class TooManyCarts(Conflict):
    """More open carts than one shopper may have at once."""

    code = "too_many_carts"
    graphql_code = "TOO_MANY_CARTS"
    message = "There are too many open carts: continue with one of them, empty one, or order one."


class CartClosed(Conflict):
    """The cart was ordered; it cannot change any more."""

    code = "cart_closed"
    graphql_code = "CART_CLOSED"
    message = "This cart has been ordered; start a new one."


class CartChanged(Conflict):
    """The cart or a price changed after the draft was made, so the customer has not seen what would be ordered."""

    code = "cart_changed"
    graphql_code = "CART_CHANGED"
    message = "The cart or a price has changed since the check-out; check out again."


class Unsupported(Refusal):
    """The shop's engine cannot do this."""

    code, status, named_in_kratos = "unsupported", 501, False
    graphql_code = "UNSUPPORTED"
    message = "This shop's engine cannot do this."
