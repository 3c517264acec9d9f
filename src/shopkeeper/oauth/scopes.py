"""Scopes and audiences of a request: what is asked for, among what is allowed (RFC 6749 section 3.3)."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from shopkeeper.oauth.errors import InvalidRequest, InvalidScope, InvalidTarget
from shopkeeper.oauth.scope_rules import SCOPE_TOKEN

MOST_SCOPES: Final = 64
TARGETS: Final = ("audience", "resource")
"""The parameters that name an audience. A request may repeat each of them (RFC 8693 section 2.1)."""


def asked_scopes(parameters: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the scopes that a request asks for, each once; None where it asks for none. Raises `InvalidScope`.

    >>> asked_scopes({"scope": "carts:read orders:read carts:read"})
    ('carts:read', 'orders:read')
    """
    text = parameters.get("scope")
    if text is None:
        return None
    scopes = text.split(" ")
    if len(scopes) > MOST_SCOPES or not all(SCOPE_TOKEN.fullmatch(scope) for scope in scopes):
        raise InvalidScope(f"Send at most {MOST_SCOPES} scopes, separated by one space each.")
    return tuple(dict.fromkeys(scopes))


def granted_scopes(asked: Sequence[str] | None, *, allowed: Collection[str]) -> tuple[str, ...]:
    """Return the scopes to grant: all that are asked for, or all that are allowed where none is asked for.

    Raises `InvalidScope` where one that is asked for is not allowed: nothing is left out silently.
    """
    if asked is None:
        return tuple(allowed)
    if not set(asked) <= set(allowed):
        raise InvalidScope("A scope is asked for that this client, or the person, does not have here.")
    return tuple(asked)


def common_scopes(one: Sequence[str], other: Collection[str]) -> tuple[str, ...]:
    """Return the scopes that are in both, in the order of the first.

    >>> common_scopes(("a", "b"), ["c", "b"])
    ('b',)
    """
    others = set(other)
    return tuple(scope for scope in one if scope in others)


def audience_of(parameters: Mapping[str, str], *, allowed: Sequence[str]) -> str:
    """Return the one audience of a token: the one that is asked for, or the only one that the client has.

    `audience` (RFC 8693 section 2.1) and `resource` (RFC 8707 section 2) mean the same here; several values are
    separated by a space. Raises `InvalidTarget`, also where they name several audiences, as section 2.2.2 has it.
    """
    asked = {audience for name in TARGETS if name in parameters for audience in parameters[name].split(" ")}
    if len(asked) > 1:
        raise InvalidTarget("A token is for one audience: ask for each with a request of its own.")
    if not asked and len(allowed) != 1:
        raise InvalidTarget("Name the audience: this client has several.")
    audience = asked.pop() if asked else allowed[0]
    if audience not in allowed:
        raise InvalidTarget("This client, or this refresh token, gives no tokens for that audience.")
    return audience


def required(parameters: Mapping[str, str], name: str) -> str:
    """Return a parameter. Raises `InvalidRequest` where it is missing or empty."""
    if not parameters.get(name):
        raise InvalidRequest(f"The parameter {name} is missing.")
    return parameters[name]
