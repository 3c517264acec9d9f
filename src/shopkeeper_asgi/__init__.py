"""Who sends a request? The session middleware for Python services, with Shopkeeper, Ory Kratos or any token issuer.

>>> from shopkeeper_asgi import Authenticator, SessionMiddleware, WhoAmI
>>> authenticator = Authenticator(WhoAmI(url="http://127.0.0.1:4433"))
>>> app = SessionMiddleware(app, authenticator=authenticator)  # doctest: +SKIP

The mode `Jwt` is in `shopkeeper_asgi.jwt`, because it needs further packages; the adapters for frameworks are in
modules named after them.
"""

from shopkeeper_asgi.asgi import SessionMiddleware
from shopkeeper_asgi.authenticator import Authenticator
from shopkeeper_asgi.errors import (
    AccessDenied,
    AuthenticationFailed,
    CrossSiteRequest,
    ProviderUnavailable,
    SecondFactorRequired,
    TokenAmbiguous,
    TokenInvalid,
    TokenMissing,
)
from shopkeeper_asgi.introspection import Introspect
from shopkeeper_asgi.user import User
from shopkeeper_asgi.whoami import WhoAmI

__all__ = [
    "AccessDenied",
    "AuthenticationFailed",
    "Authenticator",
    "CrossSiteRequest",
    "Introspect",
    "ProviderUnavailable",
    "SecondFactorRequired",
    "SessionMiddleware",
    "TokenAmbiguous",
    "TokenInvalid",
    "TokenMissing",
    "User",
    "WhoAmI",
]
__version__ = "0.1.0"
