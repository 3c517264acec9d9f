"""What a key of the admin API may do: its scopes (`read`, `write`, `impersonate`), and the stores it is limited to.

Identities are shared by all stores. So a key of one store reads those that have a session there, and changes nothing of
them, since the change would count in the other stores, too. A new route is closed to such keys until it is listed here.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from starlette.requests import Request

from shopkeeper.errors import AdminScopeMissing, Refusal
from shopkeeper.sessions.token_sources import ServiceKey

_READING: Final = frozenset({"GET", "HEAD"})
_OF_STORES: Final[Mapping[str, re.Pattern[str]]] = {
    "GET": re.compile(r"/(identities|sessions|schemas|health|version)(/.*)?"),
    "HEAD": re.compile(r"/(identities|sessions|schemas|health|version)(/.*)?"),
    "POST": re.compile(r"/sessions"),
    "PATCH": re.compile(r"/sessions/[^/]+/extend"),
    "DELETE": re.compile(r"/sessions/[^/]+|/identities/[^/]+/sessions"),
}
"""What keys of single stores may ask for, by method; the routes restrict it to those stores."""


_IMPERSONATING: Final = re.compile(r"/(identities/[^/]+|guests/by/cart/[^/]+)/impersonations|/impersonations(/[^/]+)?")
"""What needs the scope `impersonate`, and no other one; the routes restrict it to the stores of the key."""


def refusal_of(key: ServiceKey, *, method: str, path: str) -> Refusal | None:
    """Return the refusal of a request that is outside of a key's scopes, else None."""
    if _IMPERSONATING.fullmatch(path):
        missing = AdminScopeMissing("This key may not act as customers: use one with the scope 'impersonate'.")
        return None if key.impersonates else missing
    if method in _READING and not key.reads:
        return AdminScopeMissing("This key does not read: use one with the scope 'read'.")
    if method not in _READING and not key.writes:
        return AdminScopeMissing("This key reads only: use one with the scope 'write'.")
    if key.stores is None:
        return None
    allowed = _OF_STORES.get(method)
    if allowed is None or not allowed.fullmatch(path):
        return AdminScopeMissing("This concerns all stores: use a key that is not limited to some of them.")
    return None


def stores_of(request: Request) -> Sequence[str] | None:
    """Return the ids of the fronts that the request's key is limited to; None for everything."""
    stores: frozenset[str] | None = request.scope.get("admin_stores")
    return None if stores is None else sorted(stores)


def refuse_credentials(request: Request, wanted: frozenset[str]) -> None:
    """Raise `AdminScopeMissing` where a key asks for credentials that reads only, or that is of single stores.

    Hashes of passwords can be guessed at without any limit, so they are not for keys that make reports. Credentials
    count in all stores.
    """
    if wanted and not request.scope.get("admin_writes"):
        raise AdminScopeMissing("This key reads only: use one with the scopes 'read' and 'write' for credentials.")
    if wanted and stores_of(request) is not None:
        raise AdminScopeMissing("Credentials count in all stores: use a key that is not limited to some of them.")
