"""The mode `introspect`: the provider is asked what a token is (RFC 7662)."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote_plus

from shopkeeper_asgi.cache import Clock, Verified
from shopkeeper_asgi.claims import audiences, number, user_of
from shopkeeper_asgi.credentials import Credential
from shopkeeper_asgi.errors import TokenInvalid
from shopkeeper_asgi.http_client import HttpClient, checked_url
from shopkeeper_asgi.token_kinds import refuse_other_kinds, require_access_kind


@dataclass(frozen=True, kw_only=True)
class Introspect:
    """Asks the provider's introspection endpoint about each token.

    Args:
        url: the endpoint's address.
        client_id: with `client_secret`, who asks (HTTP Basic, RFC 6749 section 2.3.1).
        bearer: a key that is sent as `Authorization: Bearer` instead.
        audience: what the token's `aud` must name; None accepts what the provider calls active.
        issuer: what the token's `iss` must be; None accepts any.
        cookies: the names of cookies that hold a token.
        cache_seconds: how long an answer is used again at most: as long a token that was revoked is still accepted.
    """

    url: str
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    bearer: str | None = field(default=None, repr=False)
    audience: str | None = None
    issuer: str | None = None
    cookies: Sequence[str] = ()
    cache_seconds: float = 5

    def __post_init__(self) -> None:
        checked_url(self.url)
        if (self.client_id is None) != (self.client_secret is None) or (self.client_id is None) == (
            self.bearer is None
        ):
            raise ValueError("say who asks: either `client_id` and `client_secret`, or `bearer`")

    def verifier(self, http: HttpClient, now: Clock) -> "_Introspect":
        return _Introspect(self, http, now)


class _Introspect:
    def __init__(self, wanted: Introspect, http: HttpClient, now: Clock) -> None:
        self._wanted, self._http, self._now = wanted, http, now
        self._headers = {"authorization": _authorization(wanted)}

    async def verify(self, credential: Credential) -> Verified:
        form = {"token": credential.token, "token_type_hint": "access_token"}
        answer = await self._http.call("POST", self._wanted.url, headers=self._headers, form=form)
        told = answer.json()
        if answer.status != 200 or not isinstance(told.get("active"), bool):
            # Also 401: it is this application that the provider does not know, not the user.
            raise answer.unavailable("introspection")
        if told["active"] is not True:
            raise TokenInvalid
        expires_at = number(told.get("exp"))
        if expires_at is not None and expires_at <= self._now():
            raise TokenInvalid("The token has expired.")
        refuse_other_kinds(told)
        if not audiences(told):
            # A refresh token, of which some providers do not say so: then it has neither an audience nor a kind.
            require_access_kind(told)
        if self._wanted.audience is not None and self._wanted.audience not in audiences(told):
            raise TokenInvalid("The token is meant for another audience.")
        if self._wanted.issuer is not None and told.get("iss") != self._wanted.issuer:
            raise TokenInvalid("The token is of another issuer.")
        return Verified(user_of(told), expires_at)


def _authorization(wanted: Introspect) -> str:
    if wanted.bearer is not None:
        return f"Bearer {wanted.bearer}"
    pair = f"{quote_plus(wanted.client_id or '')}:{quote_plus(wanted.client_secret or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
