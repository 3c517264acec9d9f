"""What kind of token one is, by what its claims or its introspection say: only access tokens of persons count.

The same keys sign ID tokens, refresh tokens and tokens that an application got for itself, and providers answer
introspection about refresh tokens too (RFC 7662 section 2.1). The members that tell them apart:

    token_use    Cognito, Hydra              access · id · access_token · refresh_token
    token_type   RFC 7662 section 2.2        Bearer; some name the kind instead: access_token · refresh_token
    typ          Keycloak                    Bearer · ID · Refresh · Offline · Logout
    kind         Shopkeeper                  customer · external · guest · service
"""

import re
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from shopkeeper_asgi.errors import TokenInvalid

CLIENT_CLAIMS: Final = ("client_id", "azp", "appid", "cid")
"""Where the application is to which a token was issued; the first that is there."""
_KINDS: Final = ("token_use", "token_type", "typ")
_ACCESS: Final = frozenset(
    {"access", "access_token", "at+jwt", "bearer", "urn:ietf:params:oauth:token-type:access_token"}
)
_OTHER: Final = re.compile(r"refresh|offline|logout|\bid([ _-]?token)?\Z", re.IGNORECASE)
_LONGEST: Final = 100
"""Characters that are read of the name of a kind."""
_OF_SIGN_INS: Final = ("nonce", "at_hash", "c_hash", "s_hash")
_OF_ACCESS: Final = ("scope", "scp", "client_id", "cid")
_APPLICATIONS: Final = (
    ("gty", "client-credentials"),  # Auth0
    ("sub", "*@clients"),  # Auth0
    ("idtyp", "app"),  # Microsoft Entra
    ("preferred_username", "service-account-*"),  # Keycloak
    ("kind", "service"),  # Shopkeeper
)


def require_person(claims: Mapping[str, Any]) -> None:
    """Raise `TokenInvalid` where the subject is an application (RFC 9068 section 5) or a guest."""
    client = client_of(claims)
    if client is not None and claims.get("sub") == client:
        raise TokenInvalid("The token is an application's own and names no user.")
    if any(isinstance(claims.get(name), str) and fnmatchcase(claims[name], form) for name, form in _APPLICATIONS):
        raise TokenInvalid("The token is an application's own and names no user.")
    if claims.get("kind") == "guest":
        raise TokenInvalid("The token is a guest's, who has not signed in.")


def refuse_other_kinds(claims: Mapping[str, Any]) -> None:
    """Raise `TokenInvalid` for what says that it is a refresh token, an ID token or a logout token."""
    if any(_OTHER.search(kind) for kind in _kinds(claims)):
        raise TokenInvalid("This is no access token: send the one that was issued for this API.")


def require_access_kind(claims: Mapping[str, Any]) -> None:
    """Raise `TokenInvalid` where nothing says that it is an access token."""
    if not any(kind.lower() in _ACCESS for kind in _kinds(claims)):
        raise TokenInvalid("Nothing says that this is an access token.")


def require_access_claims(claims: Mapping[str, Any], *, typed: bool) -> None:
    """Raise `TokenInvalid` for an ID token.

    Args:
        claims: of a JWT without the type `at+jwt`, which alone would tell it apart.
        typed: whether its header has a type at all. If not, something else must say that it is an access token.
    """
    says_access = any(kind.lower() in _ACCESS for kind in _kinds(claims))
    # Keycloak repeated the nonce of the sign-in in access tokens until release 25; they say in `typ` what they are.
    marks = [name for name in _OF_SIGN_INS if name in claims and not (name == "nonce" and says_access)]
    if marks or isinstance(claims.get("events"), Mapping):
        raise TokenInvalid("This is an ID token and no access token: send the one that was issued for this API.")
    if not typed and not says_access and not any(claims.get(name) is not None for name in _OF_ACCESS):
        raise TokenInvalid("Nothing says that this is an access token.")


def require_client(claims: Mapping[str, Any], clients: Collection[str]) -> None:
    """Raise `TokenInvalid` where a token was issued to another application. Any will do where none is named."""
    if clients and client_of(claims) not in clients:
        raise TokenInvalid("The token was issued to an application that is not accepted.")


def client_of(claims: Mapping[str, Any]) -> str | None:
    """Return the application to which a token was issued, None where it does not say."""
    return next((claims[name] for name in CLIENT_CLAIMS if isinstance(claims.get(name), str)), None)


def _kinds(claims: Mapping[str, Any]) -> Iterator[str]:
    return (kind[:_LONGEST] for name in _KINDS if isinstance(kind := claims.get(name), str))
