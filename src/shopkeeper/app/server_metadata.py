"""Which features the authorization server's metadata tell of (RFC 8414). A new feature is one line in `FEATURES`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.app.introspection import introspection_metadata
from shopkeeper.app.oauth import oauth_metadata

Feature = Callable[[Infrastructure, Sequence[str]], Mapping[str, object]]
"""Returns the members of the metadata that a feature adds; none where it is switched off. It is given the algorithms by
which this server signs."""

FEATURES: Final[Sequence[Feature]] = (oauth_metadata, introspection_metadata)


def build_server_metadata(infrastructure: Infrastructure, algorithms: Sequence[str]) -> Mapping[str, object]:
    """Return the metadata: issuer and keys, and what each feature adds.

    There is no authorization endpoint, so there are no response types. RFC 8414 requires that member in section 2 and
    forbids it without elements in section 3.2; it is there, because more clients miss it than refuse an empty one
    (Authlib's validator refuses both).

    Args:
        algorithms: those by which this server signs.
    """
    document: dict[str, object] = {
        "issuer": infrastructure.base_url,
        "jwks_uri": f"{infrastructure.base_url}/.well-known/jwks.json",
        "response_types_supported": [],
        "grant_types_supported": [],
    }
    for feature in FEATURES:
        document |= feature(infrastructure, algorithms)
    return document
