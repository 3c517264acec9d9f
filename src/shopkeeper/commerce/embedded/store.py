"""The tables of the embedded shop: catalogue, carts, customers, orders.

Everything belongs to a store, and the catalogue's keys contain it, so that two stores can sell the same demo catalogue.
Money is an integer in minor units. Concurrent requests take their locks in this order everywhere, so that none
deadlock: the customer's row, guest, customer (`lock_owner`), guest's cart, customer's cart, variants by id.
"""

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from shopkeeper.commerce.port import Shopper
from shopkeeper.languages.choice import LONGEST_TAG
from shopkeeper.storage.database import Unit
from shopkeeper.storage.tables import Id, Json, Moment, metadata

Name = String(200)
Key = String(128)
Sorted = String().with_variant(String(collation="C"), "postgresql")
"""Text that PostgreSQL sorts by its bytes, as SQLite does, so that both databases list in the same order."""


class CartState(StrEnum):
    """The state of a cart. A merged or replaced one leads to the cart in `merged_into`."""

    ACTIVE = "active"
    ORDERED = "ordered"
    MERGED = "merged"
    REPLACED = "replaced"


# -- catalogue ---------------------------------------------------------------------------------------------------------

categories = Table(
    "shop_categories",
    metadata,
    Column("store", Key, primary_key=True),
    Column("id", Key, primary_key=True),
    Column("slug", Key, nullable=False),
    Column("name", Name, nullable=False),
    Column("description", String, nullable=False),
    Column("parent_id", Key),
    Column("picture", String),
    Column("position", Integer, nullable=False),
    UniqueConstraint("store", "slug"),
)

products = Table(
    "shop_products",
    metadata,
    Column("store", Key, primary_key=True),
    Column("id", Key, primary_key=True),
    Column("slug", Key, nullable=False),
    Column("name", Name, nullable=False),
    Column("description", String, nullable=False),
    Column("picture", String),
    Column("picture_alt", String, nullable=False),
    Column("attributes", Json, nullable=False),
    Column("search_name", Sorted, nullable=False),
    Column("search_text", Sorted, nullable=False),
    Column("position", Integer, nullable=False),
    UniqueConstraint("store", "slug"),
    Index(None, "store", "position"),
)

product_categories = Table(
    "shop_product_categories",
    metadata,
    Column("store", Key, primary_key=True),
    Column("product_id", Key, primary_key=True),
    Column("category_id", Key, primary_key=True),
    ForeignKeyConstraint(["store", "product_id"], [products.c.store, products.c.id], ondelete="CASCADE"),
    ForeignKeyConstraint(["store", "category_id"], [categories.c.store, categories.c.id], ondelete="CASCADE"),
    Index(None, "store", "category_id"),
)

variants = Table(
    "shop_variants",
    metadata,
    Column("store", Key, primary_key=True),
    Column("id", Key, primary_key=True),
    Column("product_id", Key, nullable=False),
    Column("sku", Key, nullable=False),
    Column("name", Name, nullable=False),
    Column("attributes", Json, nullable=False),
    Column("stock", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    ForeignKeyConstraint(["store", "product_id"], [products.c.store, products.c.id], ondelete="CASCADE"),
    UniqueConstraint("store", "sku"),
    CheckConstraint("stock >= 0", name="stock"),
    Index(None, "store", "product_id"),
)

prices = Table(
    "shop_prices",
    metadata,
    Column("store", Key, primary_key=True),
    Column("variant_id", Key, primary_key=True),
    Column("currency", String(3), primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("list_amount", BigInteger, nullable=False),
    ForeignKeyConstraint(["store", "variant_id"], [variants.c.store, variants.c.id], ondelete="CASCADE"),
    CheckConstraint("amount >= 0", name="amount"),
)

# -- carts -------------------------------------------------------------------------------------------------------------

carts = Table(
    "carts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("store", Key, nullable=False),
    Column("owner_kind", String(16), nullable=False),
    Column("owner_id", Key, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("merged_into", Id, ForeignKey("carts.id")),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Index(None, "store", "owner_kind", "owner_id", "state", "updated_at"),
    Index(None, "owner_kind", "updated_at"),
    Index(None, "state", "updated_at"),
    Index(None, "merged_into"),
)

cart_lines = Table(
    "cart_lines",
    metadata,
    Column("id", Id, primary_key=True),
    Column("cart_id", Id, ForeignKey("carts.id", ondelete="CASCADE"), nullable=False),
    Column("variant_id", Key, nullable=False),
    Column("quantity", Integer, nullable=False),
    # The variant's price when the line was written: shown where the catalogue has no price for it any more.
    Column("amount", BigInteger, nullable=False),
    Column("list_amount", BigInteger, nullable=False),
    UniqueConstraint("cart_id", "variant_id"),
    CheckConstraint("quantity > 0", name="quantity"),
)

cart_hand_overs = Table(
    "cart_hand_overs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("store", Key, nullable=False),
    Column("guest_id", Key, nullable=False),
    Column("customer_id", Key, nullable=False),
    Column("guest_cart_id", Id, nullable=False, unique=True),
    Column("cart_id", Id, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("lines", Json, nullable=False),
    Column("created_at", Moment, nullable=False, index=True),
    Index(None, "store", "guest_id"),
)

# -- customers and orders ----------------------------------------------------------------------------------------------

customers = Table(
    "customers",
    metadata,
    Column("id", Id, primary_key=True),
    Column("store", Key, nullable=False),
    Column("identity_id", Key, nullable=False),
    Column("email", String),
    Column("first_name", String),
    Column("last_name", String),
    Column("created_at", Moment, nullable=False),
    UniqueConstraint("identity_id", "store"),
)

orders = Table(
    "orders",
    metadata,
    Column("id", Id, primary_key=True),
    Column("number", String(32), nullable=False, unique=True),
    Column("store", Key, nullable=False),
    Column("customer_id", Key, nullable=False),
    Column("state", String(16), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("cart_id", Id, nullable=False, unique=True),
    Column("cart_version", Integer, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("placed_at", Moment),
    Column("locale", String(LONGEST_TAG)),
    Column("placed_by", String(128)),
    Index(None, "store", "customer_id", "state", "placed_at"),
    Index(None, "state", "created_at"),
)

order_lines = Table(
    "order_lines",
    metadata,
    Column("id", Id, primary_key=True),
    Column("order_id", Id, ForeignKey("orders.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("variant_id", Key, nullable=False),
    Column("sku", Key, nullable=False),
    Column("name", String(420), nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("amount", BigInteger, nullable=False),
    UniqueConstraint("order_id", "position"),
)

# -- what differs between the databases --------------------------------------------------------------------------------

_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def insert_or(unit: Unit, table: Table) -> Any:
    """Return an `INSERT` with `ON CONFLICT`, which SQLAlchemy has for each of the two databases separately."""
    return _INSERT[unit.dialect](table)


async def lock_owner(unit: Unit, shopper: Shopper) -> bool:
    """Lock a shopper: other transactions that create or merge this shopper's carts wait until this one ends.

    A row lock is not enough, because a shopper without a cart has no row. SQLite has only one writer anyway. Returns
    whether another transaction may have written since this one began.
    """
    await unit.begin()
    if unit.dialect == "postgresql":
        key = f"cart-owner/{shopper.store}/{shopper.kind}/{shopper.id}"
        await unit.scalar(select(func.pg_advisory_xact_lock(func.hashtextextended(key, 0))))
        return True
    return False
