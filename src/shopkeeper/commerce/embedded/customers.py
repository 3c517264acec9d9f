"""The embedded shop's customers: the data of an identity that an order needs."""

from typing import Any

from sqlalchemy import Row, bindparam, delete, select

from shopkeeper.clock import Clock
from shopkeeper.commerce.embedded import cart_rows, order_rows
from shopkeeper.commerce.embedded.store import customers, insert_or
from shopkeeper.commerce.port import Customer, Profile, Shopper, ShopperKind
from shopkeeper.crypto import new_id
from shopkeeper.storage.database import Unit


class EmbeddedCustomers:
    """Satisfies `Customers` for one shopper in one unit of work."""

    __slots__ = ("_clock", "_shopper", "_unit")

    def __init__(self, unit: Unit, shopper: Shopper, clock: Clock) -> None:
        self._unit, self._shopper, self._clock = unit, shopper, clock

    async def ensure(self, profile: Profile) -> Customer:
        # Not read first: sign-ins ask only for what is new, and two at once may write the same row.
        key = {"store": self._shopper.store, "identity_id": profile.identity_id}
        fresh = {"email": profile.email, "first_name": profile.first_name, "last_name": profile.last_name}
        written = await self._unit.write(
            insert_or(self._unit, customers)
            .values(id=new_id(), created_at=self._clock.now(), **key, **fresh)
            .on_conflict_do_update(index_elements=["store", "identity_id"], set_=fresh)
            .returning(*customers.c)
        )
        row = written.first()
        assert row is not None  # noqa: S101 - this statement has just written it; for the type checker
        return _customer(row)

    async def customer(self) -> Customer | None:
        if self._shopper.kind is not ShopperKind.CUSTOMER:
            return None
        row = await _find(self._unit, self._shopper.store, self._shopper.id)
        return _customer(row) if row is not None else None


async def forget_customer(unit: Unit, identity_id: str) -> None:
    """Delete an identity's customers in every store, with their unordered carts and drafts."""
    gone = delete(customers).where(customers.c.identity_id == identity_id).returning(customers.c.store)
    for row in (await unit.write(gone)).all():
        shopper = Shopper(ShopperKind.CUSTOMER, identity_id, row.store)
        await cart_rows.delete_unordered(unit, shopper)
        await order_rows.delete_drafts_of(unit, shopper)


async def _find(unit: Unit, store: str, identity_id: str) -> Row[Any] | None:
    return await unit.first(_FOUND, {"of_store": store, "of_identity": identity_id})


_FOUND = select(customers).where(
    customers.c.store == bindparam("of_store"), customers.c.identity_id == bindparam("of_identity")
)


def _customer(row: Row[Any]) -> Customer:
    return Customer(
        id=str(row.id),
        identity_id=row.identity_id,
        email=row.email,
        first_name=row.first_name,
        last_name=row.last_name,
        created_at=row.created_at,
    )
