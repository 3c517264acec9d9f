"""Computes how much memory a cached session takes, so that the cache is bounded by bytes.

Traits and metadata are as large as whoever registered or imported them wanted. A number of sessions bounds nothing.
"""

from itertools import chain
from sys import getsizeof
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from shopkeeper.sessions.cache import CachedSession

FIXED: Final = 2_800
"""Bytes of the session, the identity and the cache's own entries, without what is counted below."""
OF_A_PART: Final = 600
"""Bytes of an address, a device, a proof or a credential, besides its texts."""


def memory_of(cached: "CachedSession", *, most: int) -> int:
    """Return about the bytes that a cached session takes; counting ends above `most`.

    Measured sessions took from a quarter less to an eighth more: the most where long texts are outside of ASCII.
    """
    session, identity = cached.session, cached.session.identity
    parts: tuple[Any, ...] = (
        *identity.verifiable_addresses,
        *identity.recovery_addresses,
        *identity.credentials.values(),
        *session.devices,
        *session.authentication_methods,
    )
    texts = chain(
        (address.value for address in identity.verifiable_addresses),
        (address.value for address in identity.recovery_addresses),
        (device.user_agent for device in session.devices),
        (text for credential in identity.credentials.values() for text in credential.identifiers),
    )
    size = FIXED + getsizeof(cached.whoami.body) + OF_A_PART * len(parts) + sum(map(getsizeof, texts))
    documents = [dict(identity.traits), identity.metadata_public, identity.metadata_admin, identity.external_id]
    documents += [dict(credential.config) for credential in identity.credentials.values()]
    return size + _size_of(documents, most=most - size)


def _size_of(values: list[Any], *, most: int) -> int:
    """Return the bytes of JSON values and of everything inside them; counting ends above `most`."""
    size, waiting = 0, values
    while waiting and size <= most:
        value = waiting.pop()
        size += getsizeof(value)
        if isinstance(value, dict):
            waiting.extend(chain.from_iterable(value.items()))
        elif isinstance(value, list | tuple):
            waiting.extend(value)
    return size
