"""The assurance level that a flow requires of a session, and where a browser gives its second factor."""

from collections.abc import Mapping
from urllib.parse import urlencode

from shopkeeper.errors import SecondFactorRequired
from shopkeeper.sessions.assurance import AssurancePolicy, RequiredAal
from shopkeeper.sessions.values import Session


class RequiredAssurance:
    """Refuses sessions that lack the second factor of their identity.

    Args:
        policy: what counts as a second factor.
        required: the level that is required.
        base_url: our public address, without a slash at its end.
    """

    def __init__(self, policy: AssurancePolicy, *, required: RequiredAal, base_url: str) -> None:
        self._policy = policy
        self._required = required
        self._base_url = base_url

    def require(self, session: Session, *, store: Mapping[str, str], return_to: str | None = None) -> None:
        """Raise `SecondFactorRequired` where the session has less than what is required.

        `store` are the query parameters that name the session's store, `return_to` is where the browser comes back to.
        """
        if not self._policy.satisfied_by(session, required=self._required):
            url = second_factor_url(self._base_url, store=store, return_to=return_to)
            raise SecondFactorRequired(redirect_browser_to=url)


def second_factor_url(base_url: str, *, store: Mapping[str, str], return_to: str | None = None) -> str:
    """Return the address that opens the login flow of the second factor."""
    query = {"aal": "aal2", **store, **({"return_to": return_to} if return_to else {})}
    return f"{base_url}/self-service/login/browser?{urlencode(query)}"
