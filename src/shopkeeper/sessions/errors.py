"""Refusals of sessions, besides those of `errors.py`.

BadRequest
└── SessionIsCurrent         400 the session that asks cannot be ended as one of the others
TokenInvalid
└── SessionEnded             401 a session's token that is good no more
Forbidden
├── NotWhileImpersonating    403 an agent who acts for a customer may not do this
└── ImpersonationRefused     403 an impersonation may not be started
"""

from shopkeeper.errors import BadRequest, Forbidden, TokenInvalid
from shopkeeper.sessions.values import Session


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


class NotWhileImpersonating(Forbidden):
    """Raised where an agent who acts as a customer or a guest does what only that person may do."""

    code, named_in_kratos = "not_while_impersonating", False
    message = "This is not possible while you act for a customer: end that first."


class ImpersonationRefused(Forbidden):
    """Raised where an impersonation may not be started; the reason says why, for the agent's tool."""

    code, named_in_kratos = "impersonation_refused", False
    message = "This impersonation is not allowed."


def refuse_impersonated(session: Session | None) -> None:
    """Raise `NotWhileImpersonating` where an agent acts in a session."""
    if session is not None and session.actor is not None:
        raise NotWhileImpersonating
