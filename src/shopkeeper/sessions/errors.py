"""What the sessions room refuses, beyond the refusals of the house.

BadRequest
└── SessionIsCurrent   400 the session that asks cannot be ended as one of the others
TokenInvalid
└── SessionEnded       401 a session's token that is good no more
"""

from shopkeeper.errors import BadRequest, TokenInvalid


class SessionIsCurrent(BadRequest):
    """Somebody asked to end one of their other sessions, and named the one they are using."""

    code = "session_is_current"
    message = "This is the session you are using; sign out to end it."


class SessionEnded(TokenInvalid):
    """A token as sessions have them, of a session that has ended, was signed out, or never was.

    To clients it is not the end of the token: the published one refreshes it then, and drops it at `TOKEN_INVALID`.
    """

    code = "session_ended"
    graphql_code = "UNAUTHENTICATED"
    message = "This needs authentication anew: the session has ended. Refresh its token, or sign in."
