"""Introspection: what an engine asks for in each request of a shopper."""

from collections.abc import Iterator
from urllib.parse import urlencode

from bench.hot import against_bare
from bench.load import Request
from bench.outcome import Row
from bench.run import CUSTOMERS, Run
from bench.servers import INTROSPECTION_KEY
from bench.shop import bearer

FORM = {"content-type": "application/x-www-form-urlencoded"}
PATH = "/oauth2/introspect"


def introspection(run: Run) -> Iterator[Row]:
    """Measure introspection of tokens that were asked about before."""
    yield against_bare(run, "introspection, session", asking(run.shop.sign_in(CUSTOMERS[3])), target=0.7)


def asking(token: str) -> Request:
    """Return the request that asks about a token."""
    return Request(PATH, "POST", {**FORM, **bearer(INTROSPECTION_KEY)}, urlencode({"token": token}))
