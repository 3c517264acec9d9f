"""Claims of one subject from two sources, such as an access token and userinfo."""

from collections.abc import Mapping
from typing import Any, Final

_PAIRS: Final = (("email", "email_verified"), ("phone_number", "phone_number_verified"))
"""An address, and whether it was verified (OpenID Connect Core 1.0 section 5.1): apart, they mean nothing."""


def merged_claims(first: Mapping[str, Any], further: Mapping[str, Any]) -> dict[str, Any]:
    """Return all claims; those of `first` count where both have one.

    An address comes with what the same source says of its verification. What the other source says counts only where
    it names the very same address and the first says nothing of it: otherwise one address could be verified by the word
    about another.

    >>> merged_claims({"email": "ada@b.example"}, {"email": "eve@b.example", "email_verified": True, "name": "Ada"})
    {'email': 'ada@b.example', 'name': 'Ada'}
    >>> merged_claims({"sub": "7"}, {"email": "ada@b.example", "email_verified": True})
    {'email': 'ada@b.example', 'email_verified': True, 'sub': '7'}
    """
    merged = {**further, **first}
    for pair in _PAIRS:
        source = _source(first, further, *pair)
        for name in pair:
            if name in source:
                merged[name] = source[name]
            else:
                merged.pop(name, None)
    return merged


def _source(first: Mapping[str, Any], further: Mapping[str, Any], address: str, verified: str) -> Mapping[str, Any]:
    """Return the source of an address and its verification."""
    if not first.get(address):
        return further
    return further if verified not in first and further.get(address) == first[address] else first
