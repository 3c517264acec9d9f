"""Which features the authorization server's metadata tell of (RFC 8414). A new feature is one line in `FEATURES`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.app.introspection import introspection_metadata
from shopkeeper.app.oauth import oauth_metadata

Feature = Callable[[Infrastructure], Mapping[str, object]]
"""Returns the members of the metadata that a feature adds; none where it is switched off."""

FEATURES: Final[Sequence[Feature]] = (oauth_metadata, introspection_metadata)


def build_server_metadata(infrastructure: Infrastructure) -> Mapping[str, object]:
    """Return the metadata: issuer and keys, and what each feature adds."""
    document: dict[str, object] = {
        "issuer": infrastructure.base_url,
        "jwks_uri": f"{infrastructure.base_url}/.well-known/jwks.json",
        # Required members, which say that there is no authorization endpoint (sections 2 and 3.2).
        "response_types_supported": [],
        "grant_types_supported": [],
    }
    for feature in FEATURES:
        document |= feature(infrastructure)
    return document
