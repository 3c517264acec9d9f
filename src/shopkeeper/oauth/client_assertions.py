"""`private_key_jwt`: a service authenticates with assertions that it signs, each counted once (RFC 7523 section 3)."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from shopkeeper.clock import Clock
from shopkeeper.crypto import digest
from shopkeeper.jose.claims import LEEWAY, require_text, require_time, require_times
from shopkeeper.jose.errors import TokenRefused
from shopkeeper.jose.verify import JwtRules, unverified_issuer, verify
from shopkeeper.oauth.client_authentication import Presented
from shopkeeper.oauth.clients import ClientCredentials
from shopkeeper.oauth.errors import InvalidClient, InvalidRequest
from shopkeeper.storage.database import Database
from shopkeeper.tokens import received_token_store

ASSERTION: Final = "client_assertion"
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LONGEST_LIFE: Final = timedelta(minutes=5)
"""How long an assertion is accepted at most, because its `jti` is remembered until then."""
_RULES: Final = JwtRules(types=frozenset({None, "jwt", "client-authentication+jwt"}), max_bytes=8_192)

log = structlog.get_logger("shopkeeper.oauth")


class SignedAssertion:
    """The method of authentication.

    Args:
        clients: the clients by their ids; those without keys cannot use it.
        audiences: the values of `aud` that an assertion may have: the issuer and the endpoints.
        database: remembers assertions, so that each counts once, in every process and after a restart.
    """

    name, scheme, parameters = "private_key_jwt", "", frozenset({ASSERTION, "client_assertion_type"})

    def __init__(
        self,
        clients: Mapping[str, ClientCredentials],
        *,
        audiences: Collection[str],
        database: Database,
        clock: Clock,
    ) -> None:
        self._clients, self._audiences = dict(clients), frozenset(audiences)
        self._database, self._clock = database, clock

    async def client_of(self, presented: Presented) -> str | None:
        parameters = presented.parameters
        if self.parameters.isdisjoint(parameters):
            return None
        if parameters.get("client_assertion_type") != ASSERTION_TYPE or ASSERTION not in parameters:
            raise InvalidRequest(f"Send client_assertion with client_assertion_type={ASSERTION_TYPE}.")
        try:
            client_id, jti, until = self._verified(parameters[ASSERTION])
        except TokenRefused as refused:
            log.info("oauth.assertion_refused", cause=refused.cause)
            raise InvalidClient from refused
        if parameters.get("client_id", client_id) != client_id:
            raise InvalidRequest("client_id is another client than the assertion is of.")
        await self._require_first(client_id, jti, until)
        return client_id

    async def _require_first(self, client_id: str, jti: str, until: datetime) -> None:
        async with self._database.unit() as unit:
            first = await received_token_store.is_first(unit, _digest(client_id, jti), expires_at=until)
        if not first:
            log.warning("oauth.assertion_repeated", client=client_id)
            raise InvalidClient

    def _verified(self, assertion: str) -> tuple[str, str, datetime]:
        """Return the client and the id of an assertion, and until when it would be accepted (RFC 7523 section 3)."""
        known = self._clients.get(unverified_issuer(assertion, max_bytes=_RULES.max_bytes) or "")
        if known is None or known.keys is None:
            raise TokenRefused("The assertion names no client with keys.", cause="client")
        claims, now = verify(assertion, known.keys, _RULES), self._clock.now()
        if claims.get("iss") != known.id or claims.get("sub") != known.id:
            raise TokenRefused("Issuer and subject of an assertion are its client.", cause="issuer")
        self._require_audience(claims)
        return known.id, require_text(claims, "jti"), _acceptable_until(claims, now=now)

    def _require_audience(self, claims: Mapping[str, Any]) -> None:
        """Require one audience, and ours: an assertion for several servers could be used by one at another."""
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if len(audiences) != 1 or not isinstance(audiences[0], str) or audiences[0] not in self._audiences:
            raise TokenRefused("The assertion is for another server.", cause="audience")


def _acceptable_until(claims: Mapping[str, Any], *, now: datetime) -> datetime:
    """Return until when an assertion is accepted: it is refused five minutes after it was issued, whatever it says of
    its end, because Authlib's say an hour. One that does not say when it was issued must end within that time."""
    ends_at = require_times(claims, now=now, issued=False)
    if "iat" in claims:
        ends_at = min(ends_at, require_time(claims, "iat", now=now) + LONGEST_LIFE)
    if now - ends_at >= LEEWAY:
        raise TokenRefused("The assertion was issued more than five minutes ago.", cause="expired")
    if ends_at - now > LONGEST_LIFE + LEEWAY:
        raise TokenRefused("An assertion without 'iat' may expire five minutes ahead at most.", cause="lifespan")
    return ends_at + LEEWAY


def _digest(client_id: str, jti: str) -> bytes:
    return digest(f"client_assertion/{len(client_id)}:{client_id}{jti}")
