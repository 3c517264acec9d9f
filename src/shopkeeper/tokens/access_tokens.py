"""Access tokens of our own: JSON Web Tokens for one service, as RFC 9068 describes them.

A signature is verified once; then the token is known by its digest until it expires. Whether its session and its person
still count, and whether it was revoked, is not the token's to say: see `oauth/access_token_source.py`.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from shopkeeper.clock import Clock
from shopkeeper.crypto import digest, new_id
from shopkeeper.errors import TokenInvalid
from shopkeeper.jose.claims import LONGEST_TEXT, require_text, require_time
from shopkeeper.jose.errors import TokenRefused
from shopkeeper.jose.sign import sign
from shopkeeper.jose.verify import JwtRules, unverified_issuer
from shopkeeper.parsing import uuid_or_none
from shopkeeper.tokens.signing_keys import SigningKeys

TYPE: Final = "at+jwt"
LONGEST: Final = 8_192
"""Characters of a token; one that would be longer is not issued."""
LONGEST_LIFESPAN: Final = timedelta(hours=1)
"""The longest that a token can be given to live. Keys, revocations and families are remembered for as long."""
MOST_LINEAGE: Final = 8
"""How many others a token may come from: each is looked up whenever the token is used."""
MOST_VERIFIED: Final = 10_000
"""Verified tokens that a process remembers; the least recently used is forgotten first."""
MOST_STORES: Final = 64
_RULES: Final = JwtRules(types=frozenset({TYPE}), max_bytes=LONGEST)


class TokenTooLong(ValueError):
    """Raised where a token would be too long, because of its scopes."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What an access token says.

    Args:
        id: its `jti`.
        subject: the identity's id, or the client's where a service has it for itself.
        audience: the service that it is for.
        scope: what its holder may do there.
        session: the session that it was exchanged from, and ends with; None where a service has it for itself.
        stores: the stores that it counts in; empty for all.
        lineage: what it comes from, and is revoked with: a family of refresh tokens, and access tokens, each of which
            was exchanged for the next; at most `MOST_LINEAGE` ids.
        actor: who acts as the subject, where that is another (RFC 8693 section 4.1).
    """

    id: UUID
    issuer: str
    subject: str
    client_id: str
    audience: str
    scope: tuple[str, ...]
    issued_at: datetime
    expires_at: datetime
    session: UUID | None = None
    stores: tuple[str, ...] = ()
    lineage: tuple[UUID, ...] = ()
    actor: str | None = None

    @property
    def revoked_by(self) -> tuple[UUID, ...]:
        """The ids whose revocation ends it."""
        return (self.id, *self.lineage)


class AccessTokens:
    """Issues and verifies access tokens.

    Args:
        keys: sign and verify.
        issuer: the value of `iss`.
        lifespan: how long a token lives at most.
        most: how many verified tokens are remembered.
    """

    def __init__(
        self, keys: SigningKeys, *, issuer: str, clock: Clock, lifespan: timedelta, most: int = MOST_VERIFIED
    ) -> None:
        self._keys, self._issuer, self._clock, self.lifespan, self._most = keys, issuer, clock, lifespan, most
        self._verified: OrderedDict[bytes, tuple[str | None, AccessToken]] = OrderedDict()

    async def issue(
        self,
        *,
        subject: str,
        client_id: str,
        audience: str,
        scope: Sequence[str],
        until: datetime | None = None,
        session: UUID | None = None,
        stores: Sequence[str] = (),
        lineage: Sequence[UUID] = (),
        actor: str | None = None,
    ) -> tuple[str, AccessToken]:
        """Return a new token and what it says. It ends at `until` if that is earlier than its lifespan.

        Raises `TokenTooLong`.
        """
        now = self._clock.now().replace(microsecond=0)
        expires_at = now + self.lifespan if until is None else min(now + self.lifespan, until.replace(microsecond=0))
        said = AccessToken(
            id=new_id(),
            issuer=self._issuer,
            subject=subject,
            client_id=client_id,
            audience=audience,
            scope=tuple(scope),
            issued_at=now,
            expires_at=expires_at,
            session=session,
            stores=tuple(stores),
            lineage=tuple(lineage),
            actor=actor,
        )
        token = sign(_claims(said), await self._keys.current(), TYPE)
        if len(token) > LONGEST:
            raise TokenTooLong("the token has too many scopes")
        return token, said

    def is_ours(self, token: str) -> bool:
        """Whether a token has the form of ours, and names us as its issuer; nothing is verified."""
        if digest(token) in self._verified:
            return True
        return unverified_issuer(token, types=_RULES.types, max_bytes=LONGEST) == self._issuer

    async def verify(self, token: str) -> AccessToken:
        """Return what a token says that we signed and that has not expired.

        Raises `TokenInvalid`. The caller must check the token's audience.
        """
        found = await self.read(token)
        if found.expires_at <= self._clock.now():
            raise TokenInvalid
        return found

    async def read(self, token: str) -> AccessToken:
        """Return what a token says that we signed, also where it has expired. Raises `TokenInvalid`."""
        keys, key = await self._keys.verification_keys(), digest(token)
        known = self._verified.get(key)
        if known is not None and any(each.kid == known[0] for each in keys):
            self._verified.move_to_end(key)
            return known[1]
        try:
            signed = await self._keys.verify_signed(token, _RULES)
            said = _read(signed.claims, issuer=self._issuer, now=self._clock.now())
        except TokenRefused as refused:
            raise TokenInvalid from refused
        self._verified[key] = (signed.key.kid, said)
        if len(self._verified) > self._most:
            self._verified.popitem(last=False)
        return said


def _claims(said: AccessToken) -> Mapping[str, Any]:
    optional = {
        "scope": " ".join(said.scope),
        "sid": said.session and str(said.session),
        "stores": list(said.stores),
        "lineage": [str(each) for each in said.lineage],
        "act": said.actor and {"sub": said.actor},
    }
    return {
        "iss": said.issuer,
        "sub": said.subject,
        "aud": said.audience,
        "client_id": said.client_id,
        "iat": int(said.issued_at.timestamp()),
        "exp": int(said.expires_at.timestamp()),
        "jti": str(said.id),
        **{name: value for name, value in optional.items() if value},
    }


def _read(claims: Mapping[str, Any], *, issuer: str, now: datetime) -> AccessToken:
    """Return what claims say. Our own are checked too: the key may sign tokens of other kinds for others."""
    if claims.get("iss") != issuer:
        raise TokenRefused("The token was issued by another server.", cause="issuer")
    scope = claims.get("scope", "")
    if not isinstance(scope, str):
        raise TokenRefused("The token has no readable 'scope'.", cause="scope")
    audience = claims.get("aud")
    if not isinstance(audience, str) or not 1 <= len(audience) <= LONGEST_TEXT + 1:
        raise TokenRefused("The token does not say for which service it is.", cause="audience")
    return AccessToken(
        id=_require_id(claims, "jti"),
        issuer=issuer,
        subject=require_text(claims, "sub"),
        client_id=require_text(claims, "client_id"),
        audience=audience,
        scope=tuple(scope.split()),
        issued_at=require_time(claims, "iat", now=now).astimezone(UTC),
        expires_at=require_time(claims, "exp", now=now).astimezone(UTC),
        session=_require_id(claims, "sid") if "sid" in claims else None,
        stores=_stores(claims),
        lineage=_lineage(claims),
        actor=_actor(claims),
    )


def _require_id(claims: Mapping[str, Any], name: str) -> UUID:
    found = uuid_or_none(require_text(claims, name))
    if found is None:
        raise TokenRefused(f"The token has no readable '{name}'.", cause=name)
    return found


def _lineage(claims: Mapping[str, Any]) -> tuple[UUID, ...]:
    lineage = claims.get("lineage", [])
    if isinstance(lineage, list) and len(lineage) <= MOST_LINEAGE:
        ids = tuple(each for text in lineage if isinstance(text, str) and (each := uuid_or_none(text)) is not None)
        if len(ids) == len(lineage):
            return ids
    raise TokenRefused("The token has no readable 'lineage'.", cause="lineage")


def _stores(claims: Mapping[str, Any]) -> tuple[str, ...]:
    stores = claims.get("stores", [])
    if not isinstance(stores, list) or len(stores) > MOST_STORES or not all(isinstance(each, str) for each in stores):
        raise TokenRefused("The token has no readable 'stores'.", cause="stores")
    return tuple(stores)


def _actor(claims: Mapping[str, Any]) -> str | None:
    actor = claims.get("act")
    if actor is None:
        return None
    if not isinstance(actor, Mapping):
        raise TokenRefused("The token has no readable 'act'.", cause="act")
    return require_text(actor, "sub")
