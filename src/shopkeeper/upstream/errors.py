"""What goes wrong between us and a server that keeps the sessions of a store."""

from shopkeeper.openid.errors import ProviderError, ProviderUnavailable


class SessionServerUnavailable(ProviderUnavailable):
    """The server that knows whether a session is valid gave no usable answer. Nothing is known of the session then, so
    it counts neither as valid nor as ended."""

    code, status = "session_server_unavailable", 503
    graphql_code = "SESSION_SERVER_UNAVAILABLE"
    message = "Whether you are signed in cannot be checked at the moment. Try again in a moment."

    @classmethod
    def because(cls, failed: ProviderError) -> "SessionServerUnavailable":
        """Return this refusal for what went wrong."""
        retry_after = failed.retry_after if isinstance(failed, ProviderUnavailable) else None
        return cls(failed.detail, cause=failed.cause, retry_after=retry_after or 1)
