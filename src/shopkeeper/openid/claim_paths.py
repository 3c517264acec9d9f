"""Reads lists of names, such as groups and roles, from a provider's claims.

    groups                          Entra, Okta
    roles                           Entra's app roles
    realm_access.roles              Keycloak
    resource_access.shop.roles      Keycloak, of one client; its id may have dots, as in resource_access.my.shop.roles
    cognito:groups                  Cognito
    https://shop.example.org/roles  Auth0, where an action adds it

Dots lead into objects. A name may have dots itself: in each object the longest name that leads to something comes
first, so a claim of exactly the path's name comes before all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

MOST_NAMES: Final = 500
"""Names that are read of one claim. Entra writes 200 into a token at most, and 150 into an ID token of a browser."""
LONGEST_NAME: Final = 256
"""Characters of a name."""
DEEPEST_PATH: Final = 8
"""Objects that a path leads through."""
_CLAIM_NAMES: Final = "_claim_names"


class Reading(StrEnum):
    """Whether the names are all that the provider has."""

    COMPLETE = "complete"
    ELSEWHERE = "elsewhere"
    """The token says that the claim is to be fetched elsewhere (OpenID Connect Core 1.0, section 5.6.2). Entra does so
    for a user of too many groups."""
    TOO_MANY = "too_many"
    UNREADABLE = "unreadable"
    """The claim is neither a text nor a list."""


@dataclass(frozen=True, slots=True)
class ClaimedNames:
    """What a claim says.

    Args:
        names: the readable names, each once, in the order of the claim. Empty for a missing claim, which means that
            there are none: providers leave an empty list out.
        reading: only `COMPLETE` means that the subject has no other names.
        left_out: entries that are no readable names: no texts, blank, too long or with control characters.
    """

    names: tuple[str, ...] = ()
    reading: Reading = Reading.COMPLETE
    left_out: int = 0


def claimed_names(claims: Mapping[str, Any], path: str) -> ClaimedNames:
    """Return the names that a claim lists. A single text is a list of one.

    >>> claimed_names({"realm_access": {"roles": ["buyer"]}}, "realm_access.roles").names
    ('buyer',)
    >>> claimed_names({"_claim_names": {"groups": "src1"}}, "groups").reading
    <Reading.ELSEWHERE: 'elsewhere'>
    """
    found = _at(claims, path)
    if found is None:
        return ClaimedNames(reading=Reading.ELSEWHERE if _is_elsewhere(claims, path) else Reading.COMPLETE)
    if isinstance(found, str):
        found = [found] if found else []
    if not isinstance(found, Sequence):
        return ClaimedNames(reading=Reading.UNREADABLE)
    if len(found) > MOST_NAMES:
        return ClaimedNames(reading=Reading.TOO_MANY)
    names = [each for each in found if _is_name(each)]
    return ClaimedNames(tuple(dict.fromkeys(names)), left_out=len(found) - len(names))


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """Return what a path leads to, None where it leads nowhere."""
    return _follow(claims, path.split("."), DEEPEST_PATH)


def _follow(claims: Any, steps: Sequence[str], deepest: int) -> Any:
    """Return what the steps lead to. Names may have dots, as ids of clients have: the longest one comes first."""
    if not isinstance(claims, Mapping) or not deepest:
        return None
    for count in range(len(steps), 0, -1):
        found = claims.get(".".join(steps[:count]))
        if found is not None and count < len(steps):
            found = _follow(found, steps[count:], deepest - 1)
        if found is not None:
            return found
    return None


def _is_elsewhere(claims: Mapping[str, Any], path: str) -> bool:
    """Return whether the token refers to another place for the claim. `hasgroups` is Entra's older sign of it."""
    names = claims.get(_CLAIM_NAMES)
    return (isinstance(names, Mapping) and path in names) or (path == "groups" and claims.get("hasgroups") is True)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and not value.isspace() and value.isprintable()
