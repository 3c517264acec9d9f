"""The mode `whoami`: `GET /sessions/whoami` of Ory Kratos, the Ory Network, Shopkeeper, or what speaks their API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shopkeeper_asgi.cache import Clock, Verified
from shopkeeper_asgi.credentials import Credential
from shopkeeper_asgi.errors import AccessDenied, AuthenticationFailed, SecondFactorRequired, TokenInvalid
from shopkeeper_asgi.http_client import Answer, HttpClient, checked_url, sentence
from shopkeeper_asgi.user import User, frozen, frozen_object

COOKIE: Final = "ory_kratos_session"


@dataclass(frozen=True, kw_only=True)
class WhoAmI:
    """Asks the provider for the session of each token.

    Args:
        url: the public address of the provider, such as `http://127.0.0.1:4433`.
        cookies: the names of its session cookies. The Ory Network calls it `ory_session_` and the project's slug.
        email_trait: where the e-mail address is among the traits; dots lead deeper, as in `contact.email`.
        cache_seconds: how long an answer is used again at most: as long a session that was revoked is still accepted.
    """

    url: str
    cookies: Sequence[str] = (COOKIE,)
    email_trait: str = "email"
    cache_seconds: float = 5

    def __post_init__(self) -> None:
        checked_url(self.url)

    def verifier(self, http: HttpClient, now: Clock) -> "_WhoAmI":
        return _WhoAmI(f"{self.url.rstrip('/')}/sessions/whoami", http, self.email_trait)


class _WhoAmI:
    def __init__(self, url: str, http: HttpClient, email_trait: str) -> None:
        self._url, self._http, self._email_trait = url, http, email_trait

    async def verify(self, credential: Credential) -> Verified:
        answer = await self._http.call("GET", self._url, headers=_presented(credential))
        if answer.status != 200:
            raise _refusal(answer)
        session = answer.json()
        user = user_of(session, email_trait=self._email_trait)
        if user is None:
            raise answer.unavailable("whoami without a session")
        if session.get("active") is False:
            raise TokenInvalid
        return Verified(user, _moment(session.get("expires_at")), _cacheable(answer))


def _presented(credential: Credential) -> dict[str, str]:
    if credential.cookie is None:
        return {"x-session-token": credential.token}
    return {"cookie": "; ".join(f"{credential.cookie}={value}" for value in credential.values)}


def _refusal(answer: Answer) -> AuthenticationFailed:
    """Return the error for an answer without a session, with the provider's sentences."""
    told = answer.json()
    error = told["error"] if isinstance(told.get("error"), dict) else {}
    message, reason = sentence(error.get("message")), sentence(error.get("reason"))
    match answer.status:
        case 401:
            return TokenInvalid(message, reason=reason)
        case 403 if error.get("id") == SecondFactorRequired.id:
            target = error.get("redirect_browser_to", told.get("redirect_browser_to"))
            return SecondFactorRequired(message, reason=reason, redirect_browser_to=sentence(target))
        case 403:
            return AccessDenied(message, reason=reason)
    return answer.unavailable("whoami")


def user_of(session: Mapping[str, Any], *, email_trait: str = "email") -> User | None:
    """Return the user of a session as whoami answers it, None for something else.

    The address is verified if the identity's own list says so of that very address: the list may be empty, in another
    order, or hold further addresses.
    """
    identity = session.get("identity")
    if not isinstance(identity, dict) or not isinstance(identity.get("id"), str) or not identity["id"]:
        return None
    traits = identity.get("traits")
    traits = traits if isinstance(traits, dict) else {}
    email, actor = _found(traits, email_trait), session.get("actor")
    if actor is not None and not (isinstance(actor, dict) and actor):
        return None  # an agent who cannot be read must not count as the person
    verified = _is_verified(identity, email)
    actor = None if actor is None else frozen_object(actor)
    return User(identity["id"], email, verified, frozen(traits), frozen(session), actor)


def _found(traits: Mapping[str, Any], path: str) -> str | None:
    value: Any = traits
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) and value else None


def _is_verified(identity: Mapping[str, Any], email: str | None) -> bool:
    addresses = identity.get("verifiable_addresses")
    if email is None or not isinstance(addresses, list):
        return False
    # Providers keep addresses in lower case, and traits as they were typed.
    own = [
        address
        for address in addresses
        if isinstance(address, dict)
        and address.get("via", "email") == "email"
        and isinstance(address.get("value"), str)
        and address["value"].strip().casefold() == email.strip().casefold()
    ]
    return any(address.get("verified") is True for address in own)


def _moment(value: Any) -> float | None:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment.timestamp() if moment.tzinfo is not None else None


def _cacheable(answer: Answer) -> float | None:
    """Return what Ory's header allows: an answer must not be remembered longer."""
    seconds = answer.headers.get("ory-session-cache-for", "")
    return float(seconds) if seconds.isascii() and seconds.isdigit() and len(seconds) < 10 else None
