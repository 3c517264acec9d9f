"""A session of the embedded shop: its parts for one shopper, each created when it is asked for."""

from dataclasses import dataclass

from shopkeeper.commerce.embedded.carts import CartRules, EmbeddedCarts
from shopkeeper.commerce.embedded.catalogue import EmbeddedCatalogue
from shopkeeper.commerce.embedded.customers import EmbeddedCustomers
from shopkeeper.commerce.embedded.orders import EmbeddedOrders, OrderRules
from shopkeeper.commerce.port import Shopper
from shopkeeper.storage.database import Unit


@dataclass(frozen=True, slots=True)
class Rules:
    """What all sessions of one engine share."""

    carts: CartRules
    orders: OrderRules


class EmbeddedSession:
    """Satisfies `EngineSession`. The parts keep no state of their own, so creating one again costs next to nothing."""

    __slots__ = ("_rules", "_unit", "shopper")

    def __init__(self, unit: Unit, shopper: Shopper, rules: Rules) -> None:
        self._unit, self.shopper, self._rules = unit, shopper, rules

    @property
    def carts(self) -> EmbeddedCarts:
        return EmbeddedCarts(self._unit, self.shopper, self._rules.carts)

    @property
    def catalogue(self) -> EmbeddedCatalogue:
        return EmbeddedCatalogue(self._unit, self.shopper)

    @property
    def orders(self) -> EmbeddedOrders:
        return EmbeddedOrders(self._unit, self.shopper, self._rules.orders)

    @property
    def customers(self) -> EmbeddedCustomers:
        return EmbeddedCustomers(self._unit, self.shopper, self._rules.carts.clock)
