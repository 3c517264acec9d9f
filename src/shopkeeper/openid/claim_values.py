"""Values among claims, by the names that settings give to them."""

from collections.abc import Mapping
from typing import Any, Final

MOST_TEXTS: Final = 1000
"""How many texts of one claim are read: Entra names 200 groups at most."""
LONGEST_TEXT: Final = 256


def value_of(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim by its name, else the member to which the name leads between its dots; None where there is none.

    Names of Auth0's claims are addresses with dots in them, so a claim with the whole name comes first.

    >>> claims = {"https://shop.example/roles": ["buyer"], "realm_access": {"roles": ["admin"]}}
    >>> value_of(claims, "https://shop.example/roles"), value_of(claims, "realm_access.roles")
    (['buyer'], ['admin'])
    """
    if name in claims:
        return claims[name]
    found: Any = claims
    for step in name.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def texts_of(claims: Mapping[str, Any], name: str | None) -> tuple[str, ...]:
    """Return the texts of a claim that is a text or a list of texts. What is too long, or no text, is left out.

    >>> texts_of({"groups": ["/wholesale", 7, "staff", "staff"]}, "groups")
    ('/wholesale', 'staff')
    """
    value = value_of(claims, name) if name is not None else None
    several = value if isinstance(value, list | tuple) else (value,)
    readable = (each for each in several[:MOST_TEXTS] if isinstance(each, str) and 0 < len(each) <= LONGEST_TEXT)
    return tuple(dict.fromkeys(readable))
