"""The parts that an engine may have beside its carts: had by whoever cannot do without, or refused in one sentence."""

from typing import TypeVar

from shopkeeper.commerce.port import Catalogue, Engine, Orders
from shopkeeper.commerce.refusals import Unsupported

T = TypeVar("T")


def require_catalogue(engine: Engine) -> Catalogue:
    """The engine's catalogue. Raises `Unsupported`."""
    return _required(engine.catalogue, what="catalogue", engine=engine)


def require_orders(engine: Engine) -> Orders:
    """The engine's orders. Raises `Unsupported`."""
    return _required(engine.orders, what="orders", engine=engine)


def _required(part: T | None, *, what: str, engine: Engine) -> T:
    if part is None:
        raise Unsupported(f"This shop's engine, {engine.name}, has no {what} of its own.")
    return part
