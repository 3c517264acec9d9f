"""Anonymous tokens: the visit is sealed in the token itself, so that an anonymous visitor needs no row in the database.

They are compact JWE (RFC 7516 section 3.1) with direct encryption by A256GCM (RFC 7518 sections 4.5 and 5.3). Any JOSE
library that has the key can read them, but verification uses none: before anything is decoded, the token's header is
compared as text with the few headers that we write. So an attacker's choice of algorithm, compression, key URL or
iteration count is never evaluated.
"""

import base64
import binascii
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shopkeeper.clock import Clock
from shopkeeper.crypto import NONCE_BYTES, derive, new_id
from shopkeeper.errors import TokenInvalid

LONGEST = 2048
"""Maximum length in characters; ours have about 300. Longer tokens are rejected without parsing."""

_PURPOSE = "tokens/anonymous"
_DAY = 86400
_TAG_BYTES = 16


@dataclass(frozen=True, slots=True)
class AnonymousVisit:
    """An anonymous visit: the guest's id and the store it belongs to.

    `impersonation` is the id of the impersonation in which an agent acts as the guest. Who reads such a visit checks
    that it goes on, and learns `actor` thereby, the agent; it is never renewed.
    """

    guest: UUID
    store: str
    issued_at: datetime
    expires_at: datetime
    impersonation: UUID | None = None
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class AnonymousToken:
    """A token and the visit that is sealed in it."""

    text: str
    visit: AnonymousVisit


class _Claims(msgspec.Struct, frozen=True, omit_defaults=True):
    sub: str
    store: str
    iat: int
    exp: int
    imp: str | None = None


@dataclass(frozen=True, slots=True)
class _Key:
    header: str
    cipher: AESGCM


class SealedTokens:
    """Issues and verifies anonymous tokens.

    Each secret gives one key per day: a key with random nonces must not seal more than 2^32 messages (NIST SP 800-38D
    section 8.3), which allows 49,000 visitors per second. The first secret seals, all of them open.

    Args:
        secrets_: configured secrets, newest first.
        clock: sets and checks the times of issue and expiry.
        lifespan: how long a token is valid.

    >>> from shopkeeper.clock import StoppedClock
    >>> clock = StoppedClock(datetime(2026, 1, 1, tzinfo=UTC))
    >>> tokens = SealedTokens(["a secret of the shop"], clock=clock, lifespan=timedelta(days=30))
    >>> token = tokens.issue(store="fruit")
    >>> tokens.verify(token.text, store="fruit") == token.visit
    True
    """

    def __init__(self, secrets_: Sequence[str], *, clock: Clock, lifespan: timedelta) -> None:
        if not secrets_:
            raise ValueError("no secret configured for anonymous tokens")
        self._secrets = tuple(secrets_)
        self._clock = clock
        self._lifespan = int(lifespan.total_seconds())
        self._day = -1
        self._sealing: _Key
        self._opening: dict[str, _Key] = {}

    def is_ours(self, token: str) -> bool:
        """Whether a token has the form of our anonymous tokens; nothing is decoded or verified."""
        return has_form_of_visit(token)

    def issue(self, *, store: str, guest: UUID | None = None) -> AnonymousToken:
        """Issue a token for a new guest, or another one for an existing guest."""
        now = int(self._clock.now().timestamp())
        guest = guest or new_id()
        return self._issue(_Claims(sub=str(guest), store=store, iat=now, exp=now + self._lifespan), guest)

    def issue_for_agent(self, *, store: str, guest: UUID, impersonation: UUID, expires_at: datetime) -> AnonymousToken:
        """Issue a token with which an agent acts as a guest."""
        now, until = int(self._clock.now().timestamp()), int(expires_at.timestamp())
        return self._issue(
            _Claims(sub=str(guest), store=store, iat=now, exp=min(until, now + self._lifespan), imp=str(impersonation)),
            guest,
        )

    def _issue(self, claims: _Claims, guest: UUID) -> AnonymousToken:
        self._turn_keys(claims.iat)
        return AnonymousToken(_seal(self._sealing, msgspec.json.encode(claims)), _visit(claims, guest))

    def renew(self, token: str, *, store: str) -> AnonymousToken:
        """Verify a token and issue another one for its guest. Raises `TokenInvalid`, also for an agent's token."""
        visit = self.verify(token, store=store)
        if visit.impersonation is not None:
            raise TokenInvalid
        return self.issue(store=store, guest=visit.guest)

    def verify(self, token: str, *, store: str) -> AnonymousVisit:
        """Return the visit of a token. Raises `TokenInvalid`, also where the token was issued for another store."""
        visit = self.read(token)
        if visit.store != store:
            raise TokenInvalid
        return visit

    def read(self, token: str) -> AnonymousVisit:
        """Return the visit of a token for any store. Raises `TokenInvalid`."""
        now = int(self._clock.now().timestamp())
        self._turn_keys(now)
        claims = self._open(token)
        if claims.exp <= now:
            raise TokenInvalid
        return _visit(claims, UUID(claims.sub))

    def _open(self, token: str) -> _Claims:
        header, mark, sealed = token[:LONGEST].partition("..")
        key = self._opening.get(header)
        if key is None or not mark or len(token) > LONGEST:
            raise TokenInvalid
        return _CLAIMS.decode(_unseal(key, sealed))

    def _turn_keys(self, now: int) -> None:
        """Derive the keys of all days whose tokens may be valid, and of tomorrow for hosts whose clock is ahead."""
        day = now // _DAY
        if day == self._day:
            return
        days = range((now - self._lifespan) // _DAY, day + 2)
        self._opening = {
            key.header: key for secret in self._secrets for key in (_daily_key(secret, each) for each in days)
        }
        self._sealing = self._opening[_header(self._secrets[0], day)]
        self._day = day


def raw_key(secret: str, day: int) -> bytes:
    """Return the A256GCM key of one day, counted from 1970. Other programs need it to read that day's tokens."""
    return derive(secret, purpose=f"{_PURPOSE}/{day}")


def _daily_key(secret: str, day: int) -> _Key:
    return _Key(header=_header(secret, day), cipher=AESGCM(raw_key(secret, day)))


def _header(secret: str, day: int) -> str:
    """Return the protected header, encoded. Its key id identifies the secret without revealing anything about it."""
    key_id = derive(secret, purpose=f"{_PURPOSE}/id", length=6).hex()
    header = {"alg": "dir", "enc": "A256GCM", "kid": f"{key_id}.{day}", "typ": "anon+jwe"}
    return _encode(msgspec.json.encode(header))


def _seal(key: _Key, plain: bytes) -> str:
    nonce = secrets.token_bytes(NONCE_BYTES)
    sealed = key.cipher.encrypt(nonce, plain, key.header.encode())
    return f"{key.header}..{_encode(nonce)}.{_encode(sealed[:-_TAG_BYTES])}.{_encode(sealed[-_TAG_BYTES:])}"


def _unseal(key: _Key, sealed: str) -> bytes:
    parts = sealed.split(".")
    try:
        nonce, body, tag = map(_decode, parts)
        if len(nonce) != NONCE_BYTES or len(tag) != _TAG_BYTES:
            raise TokenInvalid
        return key.cipher.decrypt(nonce, body + tag, key.header.encode())
    except (InvalidTag, ValueError) as broken:
        raise TokenInvalid from broken


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    """Decode strict base64url (RFC 7515 section 2). Other spellings are rejected, so that no token has two forms."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as broken:
        raise ValueError("not base64url") from broken
    if _encode(raw) != text:
        raise ValueError("not the canonical base64url")
    return raw


def _visit(claims: _Claims, guest: UUID) -> AnonymousVisit:
    return AnonymousVisit(
        guest=guest,
        store=claims.store,
        issued_at=datetime.fromtimestamp(claims.iat, UTC),
        expires_at=datetime.fromtimestamp(claims.exp, UTC),
        impersonation=UUID(claims.imp) if claims.imp is not None else None,
    )


def has_form_of_visit(token: str) -> bool:
    """Whether a token has the form of our anonymous tokens; nothing is decoded or verified."""
    return token.startswith(_FORM) and len(token) <= LONGEST


_FORM = _encode(b'{"alg":"dir","enc":"A256GCM","kid":"')
"""The beginning of every token: 36 bytes of the header that `_header` writes, which are whole base64url groups."""
_CLAIMS = msgspec.json.Decoder(_Claims)
