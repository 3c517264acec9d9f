"""What the sessions room refuses, beyond the refusals of the house.

BadRequest
└── SessionIsCurrent   400 the session that asks cannot be ended as one of the others
"""

from shopkeeper.errors import BadRequest


class SessionIsCurrent(BadRequest):
    """Somebody asked to end one of their other sessions, and named the one they are using."""

    code = "session_is_current"
    message = "This is the session you are using; sign out to end it."
