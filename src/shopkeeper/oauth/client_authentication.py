"""Authenticates services: by a secret (RFC 6749 section 2.3.1) or by a signed assertion (RFC 7523 section 3).

    one method only -> its credentials -> compared with every secret, or signature, audience, times -> not used before

Only wrong credentials are counted: a stranger behind the same address blocks no service, and a right secret costs no
question to the cache. Secrets are long and random, so the count limits the work and the noise of guessing.
"""

import base64
import binascii
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import unquote_plus

import structlog

from shopkeeper.clock import Clock
from shopkeeper.crypto import digest, same
from shopkeeper.jose.claims import LEEWAY, require_text, require_time, require_times
from shopkeeper.jose.errors import TokenRefused
from shopkeeper.jose.verify import JwtRules, unverified_issuer, verify
from shopkeeper.oauth.clients import ClientCredentials
from shopkeeper.oauth.errors import InvalidClient, InvalidRequest
from shopkeeper.storage.database import Database
from shopkeeper.throttle import Throttle
from shopkeeper.tokens import received_token_store

ASSERTION: Final = "client_assertion"
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
METHODS: Final = ("client_secret_basic", "client_secret_post", "private_key_jwt")
"""As the server's metadata names them (RFC 8414)."""
LONGEST_LIFE: Final = timedelta(minutes=5)
"""How long an assertion is accepted at most, because its `jti` is remembered until then."""
LONGEST_CREDENTIALS: Final = 2_048
"""Characters of a Basic header's credentials, and of a secret in the form."""
_RULES: Final = JwtRules(types=frozenset({None, "jwt", "client-authentication+jwt"}), max_bytes=8_192)
_NO_SECRET: Final = (b"\0" * 32,)
"""Compared with in place of an unknown client's secrets."""

log = structlog.get_logger("shopkeeper.oauth")


class ClientAuthentication:
    """Authenticates the clients of the OAuth endpoints.

    Args:
        clients: what each client authenticates with, by its id.
        audiences: the values of `aud` that an assertion may have: the issuer and the token endpoint.
        database: remembers assertions, so that each counts once, in every process and after a restart.
        throttle: limits wrong credentials of an address.
    """

    def __init__(
        self,
        clients: Mapping[str, ClientCredentials],
        *,
        audiences: Collection[str],
        database: Database,
        throttle: Throttle,
        clock: Clock,
    ) -> None:
        self._clients, self._audiences = dict(clients), frozenset(audiences)
        self._database, self._throttle, self._clock = database, throttle, clock

    async def authenticate(self, authorization: Sequence[str], parameters: Mapping[str, str], *, ip: str) -> str:
        """Return the id of the client that sends a request.

        Never call it while a transaction is open.

        Args:
            authorization: every `Authorization` header of the request.
            parameters: the parameters in its form, each once.

        Raises:
            InvalidRequest: several methods at once, or credentials that cannot be read.
            InvalidClient: no credentials, or wrong ones.
            TooManyRequests: this address has sent too many wrong ones.
        """
        try:
            return await self._authenticated(authorization, parameters)
        except InvalidClient:
            await self._throttle.spend(ip)
            raise

    async def _authenticated(self, authorization: Sequence[str], parameters: Mapping[str, str]) -> str:
        assertion = ASSERTION in parameters or "client_assertion_type" in parameters
        if len(authorization) + ("client_secret" in parameters) + assertion > 1:
            raise InvalidRequest("Authenticate by one method only.")
        if authorization:
            client_id, secret = _basic(authorization[0])
            _require_named(client_id, parameters)
            return self._by_secret(client_id, secret)
        if assertion:
            return await self._by_assertion(parameters)
        if "client_secret" in parameters and "client_id" in parameters:
            return self._by_secret(parameters["client_id"], parameters["client_secret"])
        raise InvalidClient("Authenticate the client: with HTTP Basic, a secret in the form, or a signed assertion.")

    def _by_secret(self, client_id: str, secret: str) -> str:
        """Compare with every secret, so that the time tells neither which one matches nor whether the client exists."""
        known = self._clients.get(client_id)
        presented = digest(secret[:LONGEST_CREDENTIALS])
        matches = [same(presented, each) for each in (known.secrets if known and known.secrets else _NO_SECRET)]
        if known is None or not any(matches) or len(secret) > LONGEST_CREDENTIALS:
            raise InvalidClient
        return known.id

    async def _by_assertion(self, parameters: Mapping[str, str]) -> str:
        if parameters.get("client_assertion_type") != ASSERTION_TYPE or ASSERTION not in parameters:
            raise InvalidRequest(f"Send client_assertion with client_assertion_type={ASSERTION_TYPE}.")
        try:
            client_id, jti, until = self._verified(parameters[ASSERTION])
        except TokenRefused as refused:
            log.info("oauth.assertion_refused", cause=refused.cause)
            raise InvalidClient from refused
        _require_named(client_id, parameters)
        async with self._database.unit() as unit:
            first = await received_token_store.is_first(unit, _digest(client_id, jti), expires_at=until)
        if not first:
            log.warning("oauth.assertion_repeated", client=client_id)
            raise InvalidClient
        return client_id

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


def _basic(header: str) -> tuple[str, str]:
    """Return id and secret of a Basic header, each form-decoded (RFC 6749 section 2.3.1).

    >>> _basic("Basic " + base64.b64encode(b"shop%3A1:a+b%25").decode())
    ('shop:1', 'a b%')
    """
    scheme, _, credentials = header.strip(" ").partition(" ")
    if scheme.lower() != "basic":
        raise InvalidClient("Authenticate the client with HTTP Basic, or by parameters in the form.")
    if len(credentials) > LONGEST_CREDENTIALS:
        raise InvalidClient
    try:
        text = base64.b64decode(credentials.strip(" "), validate=True).decode("ascii")
        client_id, colon, secret = text.partition(":")
        decoded = (unquote_plus(client_id, errors="strict"), unquote_plus(secret, errors="strict"))
    except (binascii.Error, ValueError) as broken:
        raise InvalidRequest(
            "The Basic credentials cannot be read: form-encode id and secret, then base64."
        ) from broken
    if not colon:
        raise InvalidRequest("The Basic credentials have no colon between id and secret.")
    return decoded


def _require_named(client_id: str, parameters: Mapping[str, str]) -> None:
    """Refuse a `client_id` in the form that is another than the credentials'."""
    if parameters.get("client_id", client_id) != client_id:
        raise InvalidRequest("client_id is another client than the credentials are of.")


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
