"""What kind of token a provider says that one is, among its claims or in the answer of its introspection.

    token_use    Cognito, Hydra              access · id · access_token · refresh_token
    token_type   RFC 7662 section 2.2        Bearer; some name the kind instead: access_token · refresh_token
    typ          Keycloak                    Bearer · ID · Refresh · Offline · Logout

A provider answers introspection about its refresh tokens too. They live long and are for the provider alone, so one
that was sent here must never count.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from shopkeeper.openid.errors import ProviderTokenInvalid

MEMBERS: Final = ("token_use", "token_type", "typ")
_ACCESS: Final = frozenset(
    {"access", "access_token", "at+jwt", "bearer", "urn:ietf:params:oauth:token-type:access_token"}
)
_OTHER: Final = re.compile(r"refresh|offline|logout|\bid([ _-]?token)?\Z", re.IGNORECASE)
_LONGEST: Final = 100
"""Characters that are read of the name of a kind."""


def refuse_other_kinds(said: Mapping[str, Any]) -> None:
    """Raise `ProviderTokenInvalid` where a token is said to be a refresh token, an ID token or a logout token."""
    if any(_OTHER.search(kind) for kind in _kinds(said)):
        raise ProviderTokenInvalid("The provider says that this is no access token.", cause="typ")


def require_access_kind(said: Mapping[str, Any]) -> None:
    """Raise `ProviderTokenInvalid` where nothing says that a token is an access token."""
    if not any(kind.lower() in _ACCESS for kind in _kinds(said)):
        raise ProviderTokenInvalid("The provider does not say that this is an access token.", cause="typ")


def _kinds(said: Mapping[str, Any]) -> Iterator[str]:
    return (kind[:_LONGEST] for name in MEMBERS if isinstance(kind := said.get(name), str))
