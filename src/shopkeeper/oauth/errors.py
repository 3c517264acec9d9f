"""The refusals of the OAuth endpoints, in the words of RFC 6749 section 5.2.

    OAuthRefused                 error, status, description
    ├── InvalidRequest           400 a parameter is missing, repeated, or malformed
    ├── InvalidClient            401 the client did not authenticate; it is not said why
    ├── InvalidGrant             400 what is presented is not valid, or was issued to another client
    ├── UnauthorizedClient       400 the client may not use this grant
    ├── UnsupportedGrantType     400 there is no such grant here
    ├── InvalidScope             400 a scope that the client may not ask for
    ├── InvalidTarget            400 an audience that the client may not ask for (RFC 8693 section 2.2.2)
    └── UnsupportedTokenType     400 a token that cannot be revoked here (RFC 7009 section 2.2.1)

They are rendered by the route. A description never repeats a token, a secret, or what the request said.
"""

from typing import ClassVar


class OAuthRefused(Exception):
    """A request that is refused. Only its subclasses are raised.

    Args:
        description: says in English what to do in this case.
    """

    error: ClassVar[str] = "invalid_request"
    status: ClassVar[int] = 400

    def __init__(self, description: str) -> None:
        super().__init__(description)
        self.description = description


class InvalidRequest(OAuthRefused):
    """A parameter is missing, repeated, or malformed."""


class InvalidClient(OAuthRefused):
    """The client did not authenticate. Unknown clients and wrong secrets are not told apart."""

    error, status = "invalid_client", 401

    def __init__(self, description: str = "The client is unknown, or its credentials are not valid.") -> None:
        super().__init__(description)


class InvalidGrant(OAuthRefused):
    """The token that is presented is not valid, has ended, or was issued to another client."""

    error = "invalid_grant"


class UnauthorizedClient(OAuthRefused):
    """The client may not use this grant."""

    error = "unauthorized_client"


class UnsupportedGrantType(OAuthRefused):
    """There is no such grant here."""

    error = "unsupported_grant_type"


class InvalidScope(OAuthRefused):
    """A scope is malformed, or the client may not ask for it."""

    error = "invalid_scope"


class InvalidTarget(OAuthRefused):
    """The audience is unknown, or the client may not ask for it (RFC 8693 section 2.2.2)."""

    error = "invalid_target"


class UnsupportedTokenType(OAuthRefused):
    """A token of a kind that cannot be revoked here (RFC 7009 section 2.2.1)."""

    error = "unsupported_token_type"
