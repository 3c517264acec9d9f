"""Refusals of sessions, besides those of `errors.py`.

BadRequest
└── SessionIsCurrent   400 the session that asks cannot be ended as one of the others
TokenInvalid
└── SessionEnded       401 a session's token that is good no more
"""

from shopkeeper.errors import BadRequest, TokenInvalid


class SessionIsCurrent(BadRequest):
    """Raised where a caller ends one of their other sessions but names the current one."""

    code = "session_is_current"
    message = "This is the session you are using; sign out to end it."


class SessionEnded(TokenInvalid):
    """Raised for a token with the form of a session token whose session has expired, was revoked, or never existed.

    Clients keep such a token: the published client refreshes it, but drops a token at `TOKEN_INVALID`.
    """

    code = "session_ended"
    graphql_code = "UNAUTHENTICATED"
    message = "The session has ended, so this needs authentication again: refresh its token, or sign in."
