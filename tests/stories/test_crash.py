"""The server is killed during many sign-ins with cart merges, and many orders; nothing is lost or doubled.

The answers of the requests that were under way are unknown: each of these was done wholly, or not at all.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any

import httpx2 as httpx
import pytest

from tests.services.server import wait_until
from tests.services.shopkeeper_server import Commerce
from tests.stories.conftest import Launch
from tests.stories.places import Ground, Ledger
from tests.stories.production import SECRETS
from tests.stories.shopping import CHECK_OUT, PLACE
from tests.stories.visitor import Guests, Visitor

MUG, PLATE, SOAP, JARS, RINGS = "QK-MUG-BLU", "QK-PLATE-21", "QK-SOAP-200", "QK-JARS-05", "QK-JARS-RING"
CONFIG: Mapping[str, Any] = {
    # Hashing as cheap as it gets, because the test looks at what comes after it.
    "hashers": {"argon2": {"memory": "8MB", "iterations": 1}},
    "throttle": {"login": {"per_ip": "100000/minute"}, "registration": {"per_ip": "100000/minute"}},
}
VISITORS, BUYERS, AT_ONCE = 16, 8, 12
CRASHES = ((3, 0.0), (8, 0.015))
"""How many answers come before each crash, and how many seconds later it comes, so that some fall within a request."""

GUESTS = {MUG: 3, SOAP: 1}
CUSTOMERS = {MUG: 1, PLATE: 2}
MERGED = {MUG: 3, PLATE: 2, SOAP: 1}


@dataclass
class Story:
    """A request that may be cut off, and its answer, or None."""

    act: Callable[[], httpx.Response]
    visitor: Visitor
    email: str
    cart: str
    customers_cart: str = ""
    order: str = ""
    answered: bool = False


class Crash:
    """Kills the server after so many answers; the other requests are under way then, or never sent."""

    def __init__(self, shop: Commerce, *, after: int, later: float) -> None:
        self._shop, self._left, self._later, self._lock = shop, after, later, Lock()

    def tell(self, story: Story) -> None:
        with suppress(httpx.TransportError):
            answer = story.act()
            assert answer.status_code == 200, answer.text
            assert "errors" not in answer.json(), answer.text
            story.answered = True
            self._count()

    def _count(self) -> None:
        with self._lock:
            self._left -= 1
            mine = self._left == 0
        if mine:
            time.sleep(self._later)
            self._shop.kill()


@pytest.fixture
def start(launch: Launch, infrastructure: Ground) -> Callable[[], Commerce]:
    """Start a server on the same data, as often as it is needed."""
    return lambda: launch(config=CONFIG, environ=SECRETS, demo=True, **infrastructure.start_with())


@pytest.fixture
def everybody() -> Iterator[list[Guests]]:
    everybody: list[Guests] = []
    yield everybody
    for guests in everybody:
        guests.go()


def visitors(guests: Guests) -> list[Story]:
    """Create guests with full carts, each about to sign in as a customer who has a cart as well."""
    return [_visitor(guests) for _ in range(VISITORS)]


def _visitor(guests: Guests) -> Story:
    customer, email = guests.customer(**CUSTOMERS)
    guest = guests.guest()
    for sku, quantity in GUESTS.items():
        cart = guest.put(sku, quantity)
    theirs = customer.cart()
    assert theirs
    act = lambda: guest.try_to_sign_in(email, oldCartId=cart["id"])  # noqa: E731 - one request of the test
    return Story(act, guest, email, cart["id"], customers_cart=theirs["id"])


def buyers(guests: Guests) -> list[Story]:
    """Create customers with a draft, each about to place it."""
    return [_buyer(guests) for _ in range(BUYERS)]


def _buyer(guests: Guests) -> Story:
    buyer, email = guests.customer(**{JARS: 1, RINGS: 1})
    cart = buyer.cart()
    assert cart
    order = buyer.ask(CHECK_OUT, cart=cart["id"])["order"]["id"]
    body = {"query": PLACE, "variables": {"id": order}}
    return Story(lambda: buyer.post("/graphql", body), buyer, email, cart["id"], order=order)


def tell_until_the_crash(shop: Commerce, stories: Sequence[Story], *, after: int, later: float) -> None:
    crash = Crash(shop, after=after, later=later)
    with ThreadPoolExecutor(AT_ONCE) as at_once:
        list(at_once.map(crash.tell, stories))
    assert 0 < sum(story.answered for story in stories) < len(stories)


def test_nothing_is_lost_or_doubled(
    start: Callable[[], Commerce], infrastructure: Ground, everybody: list[Guests]
) -> None:
    ledger, bought = Ledger(infrastructure.dsn), []
    stock = stock_of(ledger)
    for after, later in CRASHES:
        shop = start()
        stock = stock or stock_of(ledger)
        guests = Guests(shop.public)
        everybody.append(guests)
        visiting, buying = visitors(guests), buyers(guests)
        tell_until_the_crash(shop, mixed(visiting, buying), after=after, later=later)
        bought += buying
        check_carts(ledger, visiting)
        check_orders(ledger, buying)
        a_minute_later(ledger)
        finish(start(), visiting, ledger)
        assert stock_of(ledger) == stock - sold(ledger)
    check_mails(ledger, bought)


def mixed(visiting: Sequence[Story], buying: Sequence[Story]) -> list[Story]:
    """Mix them: two sign-ins, one order, and so on."""
    pairs = [visiting[at : at + 2] for at in range(0, len(visiting), 2)]
    return [story for pair, buyer in zip(pairs, buying, strict=True) for story in (*pair, buyer)]


def lines_of(ledger: Ledger, cart: str) -> dict[str, int]:
    """Return the lines of a cart in the database; a doubled line would show here."""
    rows = ledger.rows(
        f"SELECT sku, quantity FROM cart_lines JOIN shop_variants ON shop_variants.id = variant_id"
        f" WHERE {_id(ledger, 'cart_id', cart)}"
    )
    assert len({sku for sku, _ in rows}) == len(rows)
    return dict(rows)


def _id(ledger: Ledger, column: str, value: str) -> str:
    return f"{column} = '{ledger.written(value)}'"


def check_carts(ledger: Ledger, visiting: Sequence[Story]) -> None:
    """Check that each guest's cart is wholly the guest's or wholly merged, and is merged where the answer said so."""
    for story in visiting:
        [(owner, state)] = ledger.rows(f"SELECT owner_kind, state FROM carts WHERE {_id(ledger, 'id', story.cart)}")
        handed_over = ledger.count("cart_hand_overs", _id(ledger, "guest_cart_id", story.cart))
        found = (owner, state, handed_over, lines_of(ledger, story.cart), lines_of(ledger, story.customers_cart))
        before, after = ("guest", "active", 0, GUESTS, CUSTOMERS), ("customer", "merged", 1, {}, MERGED)
        assert found == after if story.answered else found in (before, after)


def check_orders(ledger: Ledger, buying: Sequence[Story]) -> None:
    """Check that each order is placed with everything that belongs to it, or is still the draft it was."""
    for story in buying:
        [order] = ledger.column(f"SELECT state FROM orders WHERE {_id(ledger, 'id', story.order)}")
        [cart] = ledger.column(f"SELECT state FROM carts WHERE {_id(ledger, 'id', story.cart)}")
        told = ledger.count("outbox", f"topic = 'order.placed/mail' AND {_told(ledger, story.order)}")
        placed, draft = ("placed", "ordered", 1), ("draft", "active", 0)
        assert (order, cart, told) == placed if story.answered else (order, cart, told) in (placed, draft)


def _told(ledger: Ledger, order: str) -> str:
    """Return the event about an order."""
    return f"CAST(payload AS TEXT) LIKE '%{order}%'"


def stock_of(ledger: Ledger) -> Counter[str]:
    rows = ledger.rows(f"SELECT sku, stock FROM shop_variants WHERE sku IN ('{JARS}', '{RINGS}')")
    return Counter(dict(rows))


def sold(ledger: Ledger) -> Counter[str]:
    rows = ledger.rows(
        "SELECT sku, sum(quantity) FROM order_lines JOIN orders ON orders.id = order_id"
        " WHERE state = 'placed' GROUP BY sku"
    )
    return Counter({sku: int(quantity) for sku, quantity in rows})


def a_minute_later(ledger: Ledger) -> None:
    """Let the leases of the dead server end, so that other servers can take its events."""
    ledger.execute("UPDATE outbox SET locked_until = created_at WHERE locked_until IS NOT NULL")


def finish(shop: Commerce, visiting: Sequence[Story], ledger: Ledger) -> None:
    """Sign in again with the same hint, which completes what was cut off and changes nothing that was done."""
    everybody = Guests(shop.public)
    for story in visiting:
        again = everybody.stranger()
        again.token = story.visitor.token
        told = again.sign_in(story.email, oldCartId=story.cart)
        assert told["cart"]["outcome"] in ({"already_done"} if story.answered else {"already_done", "merged"})
        assert told["cart"]["id"] == story.customers_cart
        assert again.goods() == MERGED
    wait_until(lambda: ledger.count("outbox", "delivered_at IS NULL") == 0, "the delivery of every event")
    assert ledger.count("outbox", "died_at IS NOT NULL") == 0
    everybody.go()
    shop.stop()


def check_mails(ledger: Ledger, buying: Sequence[Story]) -> None:
    """Check for one confirmation of each placed order, none for others, and the order of the events of a key."""
    for story in buying:
        [state] = ledger.column(f"SELECT state FROM orders WHERE {_id(ledger, 'id', story.order)}")
        confirmed = ledger.column(
            f"SELECT status FROM courier_messages WHERE recipient = '{story.email}' AND template_type = 'order_placed'"
        )
        assert confirmed == (["sent"] if state == "placed" else [])
    assert set(ledger.column("SELECT status FROM courier_messages")) == {"sent"}
    delivered: dict[str, list[Any]] = {}
    for key, at in ledger.rows("SELECT key, delivered_at FROM outbox ORDER BY sequence"):
        delivered.setdefault(key, []).append(at)
    assert len(delivered) > len(buying)
    assert all(moments == sorted(moments) for moments in delivered.values())
