"""Which credentials are our own: none of them is sent to another server as if it were that server's opaque token."""

from collections.abc import Collection
from typing import Final

from shopkeeper.crypto import OWN_PREFIX, digest
from shopkeeper.tokens.sealed import has_form_of_visit

_BEARER: Final = "Bearer "
"""What a whole value of an `Authorization` header that is configured may begin with."""


class OwnCredentials:
    """Knows our tokens by their form, and keys by their digests: they have no form.

    Args:
        digests: SHA-256 of the configured keys and secrets, and of whole values of the `Authorization` header.
    """

    def __init__(self, digests: Collection[bytes] = ()) -> None:
        self._digests = frozenset(digests)

    def has(self, token: str) -> bool:
        """Whether a bearer is one of ours. Digests are compared, so that the time of it tells nothing of a key."""
        if token.startswith(OWN_PREFIX) or has_form_of_visit(token):
            return True
        return not self._digests.isdisjoint((digest(token), digest(_BEARER + token)))
