"""The keys by which this server signs tokens: made at first need, sealed, published, rotated without an outage.

The key that signs next is published long before it does, so that every process and every verifier knows it by then.
Processes tell each other nothing: each reads the few keys again every `FRESH`, and when a token names one that it does
not know.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy.exc import IntegrityError

from shopkeeper.clock import Clock
from shopkeeper.crypto import KeyRing, Unsealable
from shopkeeper.errors import Conflict, Refusal
from shopkeeper.jose.errors import KeysInvalid, TokenRefused
from shopkeeper.jose.keys import KeySet, PrivateKey, PrivateKeySet
from shopkeeper.jose.verify import JwtRules, SignedJwt, verify_signed
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.database import Database, Unit
from shopkeeper.storage.unavailable import DatabaseUnavailable
from shopkeeper.tokens import signing_key_store as store
from shopkeeper.tokens.key_reloads import ReloadAllowance
from shopkeeper.tokens.key_schedule import StoredKey, Turn, current_of, scheduled_of, turns, waiting_of

PURPOSE: Final = "signing keys"
"""The purpose of the key ring that seals private keys."""
FRESH: Final = timedelta(seconds=30)
"""How old the keys may be that a process works with."""
USABLE: Final = timedelta(hours=1)
"""The same while the database is away."""
AHEAD: Final = timedelta(minutes=15)
"""How long a key is published before it signs. Verifiers keep a key set for `CACHED_BY_VERIFIERS`, often longer."""
CACHED_BY_VERIFIERS: Final = timedelta(minutes=5)
_TRIES: Final = 3
"""How often a change is tried that another process made at the same moment."""
_HINT: Final = "Restore the secret in secrets.cipher, or run: shopkeeper keys rotate --now"
_MEANWHILE: Final = "Another process rotates the signing keys at this moment. Look with: shopkeeper keys list"

log = structlog.get_logger("shopkeeper.tokens")


class SigningKeyUnreadable(Refusal):
    """None of the private keys can be opened: the secret that sealed them is missing in `secrets.cipher`."""

    code, status, named_in_kratos = "signing_key_unreadable", 503, False
    message = "The server cannot sign tokens at the moment: its log says why."


@dataclass(frozen=True, slots=True)
class PublishedKeys:
    """A JWK set (RFC 7517 section 5) as it is published, and its entity tag (RFC 9110 section 8.8.3)."""

    body: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Rotation:
    """The result of a rotation: the key that signs from a moment on, and whether an earlier one had planned that."""

    kid: str
    algorithm: str
    signs_from: datetime
    was_planned: bool = False


@dataclass(frozen=True, slots=True)
class _Known:
    """The keys as they were read."""

    read_at: datetime
    turns: Sequence[Turn]
    signing: PrivateKey | None
    verifying: KeySet
    published: PublishedKeys


class SigningKeys:
    """The signing keys.

    Args:
        sealing: seals the private keys.
        algorithm: of the keys that are made.
        rotate_after: how long a key signs until the next one does by itself; None for no such rotation.
        kept_for: how long a key stays published after it was replaced: longer than any token lives that it signed.
        audit: records rotations.
    """

    def __init__(
        self,
        database: Database,
        *,
        sealing: KeyRing,
        clock: Clock,
        algorithm: str = "ES256",
        rotate_after: timedelta | None = None,
        kept_for: timedelta = timedelta(days=1),
        audit: Audit | None = None,
    ) -> None:
        self._database, self._sealing, self._clock = database, sealing, clock
        self._algorithm, self._rotate_after = algorithm, rotate_after
        self._kept_for = kept_for + FRESH
        self._audit = audit
        self._known: _Known | None = None
        self._reading = asyncio.Lock()
        self._begun = self._ended = 0
        self._failure: DatabaseUnavailable | None = None
        self._reloads = ReloadAllowance()

    async def current(self) -> PrivateKey:
        """Return the key that signs now. It is made at the first call ever.

        Raises:
            SigningKeyUnreadable: none of the keys can be opened.
            DatabaseUnavailable: the database is away, and was not read before.
        """
        known = await self._fresh()
        if known.signing is None:
            raise SigningKeyUnreadable()
        return known.signing

    async def verification_keys(self) -> KeySet:
        """Return the keys that may have signed a token that is valid. Raises `DatabaseUnavailable`, as `current`."""
        return (await self._fresh()).verifying

    async def verify(self, token: str, rules: JwtRules) -> Mapping[str, Any]:
        """Return the claims of a token that this server signed. A key that this process does not know is looked for.

        Raises:
            TokenRefused: the token is not signed by one of the keys, or breaks the rules.
            DatabaseUnavailable: as `current`.
        """
        return (await self.verify_signed(token, rules)).claims

    async def verify_signed(self, token: str, rules: JwtRules) -> SignedJwt:
        """Verify a token as `verify` does; return also its header, and the key that signed it."""
        try:
            return verify_signed(token, await self.verification_keys(), rules)
        except TokenRefused as refused:
            if refused.cause != "unknown_key":
                raise
            if not self._reloads.take(self._clock.now()):
                if self._failure is not None:  # the key may be one that could not be read
                    raise self._failure.anew() from refused
                raise
        return verify_signed(token, (await self._read()).verifying, rules)

    async def jwks(self) -> PublishedKeys:
        """Return what is published. Raises `DatabaseUnavailable`, as `current`."""
        return (await self._fresh()).published

    async def algorithms(self) -> Sequence[str]:
        """Return the algorithms of the published keys, for the server's metadata."""
        return sorted({turn.key.algorithm for turn in (await self._fresh()).turns})

    async def list_turns(self) -> Sequence[Turn]:
        """Return the published keys with their states, read now. None is made."""
        return self._turns(await self._stored())

    async def rotate(self, algorithm: str | None = None, *, at_once: bool = False, actor: str = "system") -> Rotation:
        """Let another key sign: at once where it has been published for long enough, else as soon as it has.

        Args:
            algorithm: of the key; that of the settings where it is None. A key of another algorithm is made anew.
            at_once: do not wait until verifiers have had the time to read the key.
            actor: who rotates, for the audit trail.

        Raises:
            Conflict: another process changed the keys at the same moment, or one to another algorithm is planned.
            DatabaseUnavailable: the database is away.
        """
        await self._read()
        for _ in range(_TRIES):
            rotation = await self._try_to_rotate(algorithm or self._algorithm, at_once=at_once, actor=actor)
            await self._read()
            if rotation is not None:
                log.info("signing_keys.rotated", kid=rotation.kid, algorithm=rotation.algorithm)
                return rotation
        raise Conflict(_MEANWHILE)

    async def withdraw(self, algorithm: str | None = None, *, actor: str = "system") -> Rotation:
        """Replace all keys, for when they may be known to others: what they signed is worthless from now on.

        Other processes notice within `FRESH`, and verifiers once they read the key set again.

        Raises:
            Conflict: another process changed the keys at the same moment.
            DatabaseUnavailable: the database is away.
        """
        for _ in range(_TRIES):
            keys = await self._stored()
            number, now = (keys[-1].number if keys else 0), self._clock.now()
            signing = await self._new_row(number + 1, algorithm or self._algorithm, signs_from=now)
            waiting = await self._new_row(number + 2, algorithm or self._algorithm)
            rotation = Rotation(str(signing["kid"]), str(signing["algorithm"]), now)
            if await self._change(rotation, actor, withdraw=number, add=[signing, waiting]):
                await self._read()
                log.warning("signing_keys.withdrawn", kids=[key.kid for key in keys])
                return rotation
        raise Conflict(_MEANWHILE)

    async def purge(self, unit: Unit, before: datetime, batch: int) -> int:
        """Delete keys that were replaced before a moment; return how many."""
        return await store.purge(unit, before, batch)

    @property
    def kept_for(self) -> timedelta:
        """How long a key stays after it was replaced."""
        return self._kept_for

    # -- reading -------------------------------------------------------------------------------------------------------

    async def _fresh(self) -> _Known:
        known = self._known
        if known is not None and timedelta() <= self._clock.now() - known.read_at < FRESH:
            return known
        try:
            return await self._read()
        except DatabaseUnavailable:
            if known is None or not timedelta() <= self._clock.now() - known.read_at < USABLE:
                raise
            log.warning("signing_keys.stale", read_at=known.read_at.isoformat())
            return known

    async def _read(self) -> _Known:
        """Read the keys. Calls that come together share one reading that began after each of them, or its failure."""
        asked = self._begun
        async with self._reading:
            if self._ended <= asked:  # also where the reading of another call was cancelled
                await self._read_now()
            if self._failure is not None:
                # One error for each caller: an exception that is raised twice grows, and keeps what its frames held.
                raise self._failure.anew()
            if self._known is None:
                raise AssertionError("a reading that ended well has left no keys")
            return self._known

    async def _read_now(self) -> None:
        self._begun += 1
        try:
            self._known, self._failure = await self._read_and_complete(), None
        except DatabaseUnavailable as failure:
            self._failure = failure.anew()
        self._ended = self._begun

    async def _read_and_complete(self) -> _Known:
        """Read the keys; add those that are missing, and rotate where it is time."""
        for _ in range(_TRIES):
            began_at = self._clock.now()
            keys = await self._stored()
            published = self._turns(keys)
            if current_of(published) is None or waiting_of(published) is None:
                await self._add_missing(keys, published)
            elif self._is_due(published):
                await self._try_to_rotate(self._algorithm, at_once=False, keys=keys)
            else:
                return self._known_from(published, began_at)
        began_at = self._clock.now()
        return self._known_from(self._turns(await self._stored()), began_at)

    async def _stored(self) -> Sequence[StoredKey]:
        async with self._database.reading() as unit:
            return await store.every_key(unit)

    def _turns(self, keys: Sequence[StoredKey]) -> Sequence[Turn]:
        return turns(keys, self._clock.now(), kept_for=self._kept_for)

    def _known_from(self, published: Sequence[Turn], read_at: datetime) -> _Known:
        documents = [dict(turn.key.public_jwk) for turn in published]
        body = msgspec.json.encode({"keys": documents})
        return _Known(
            read_at=read_at,
            turns=published,
            signing=self._signing(published),
            verifying=KeySet.of_jwks({"keys": documents}),
            published=PublishedKeys(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'),
        )

    def _signing(self, published: Sequence[Turn]) -> PrivateKey | None:
        """Return the latest key whose turn has come and that can be opened: an earlier one is known everywhere, too."""
        taken = (self._open(turn.key) for turn in reversed(published) if turn.state != "next")
        return next((key for key in taken if key is not None), None)

    def _open(self, key: StoredKey) -> PrivateKey | None:
        """Return the private key; None where it was sealed by a secret that is configured no more."""
        try:
            return _opened(key, self._sealing)
        except (Unsealable, KeysInvalid):
            log.error("signing_keys.unreadable", kid=key.kid, hint=_HINT)
            return None

    # -- changing ------------------------------------------------------------------------------------------------------

    def _is_due(self, published: Sequence[Turn]) -> bool:
        current = current_of(published)
        if self._rotate_after is None or scheduled_of(published) is not None:
            return False
        began = current.signs_from if current is not None else None
        return began is not None and began + self._rotate_after <= self._clock.now()

    async def _add_missing(self, keys: Sequence[StoredKey], published: Sequence[Turn]) -> None:
        """Add the key that signs, where there is none, and the one that waits. Another process may be faster."""
        number = keys[-1].number if keys else 0
        rows = []
        if current_of(published) is None and scheduled_of(published) is None:
            rows.append(await self._new_row(number + 1, self._algorithm, signs_from=self._clock.now()))
        rows.append(await self._new_row(number + len(rows) + 1, self._algorithm))
        await self._change(None, "system", add=rows)

    async def _try_to_rotate(
        self, algorithm: str, *, at_once: bool, actor: str = "system", keys: Sequence[StoredKey] | None = None
    ) -> Rotation | None:
        """Rotate once; return None where another process changed the keys meanwhile."""
        keys = await self._stored() if keys is None else keys
        published, now = self._turns(keys), self._clock.now()
        planned, waiting = scheduled_of(published), waiting_of(published)
        if planned is not None and planned.signs_from is not None:
            if planned.algorithm != algorithm:
                raise Conflict("A rotation to another algorithm is planned already. Wait until it has happened.")
            if not at_once:
                return Rotation(planned.kid, planned.algorithm, planned.signs_from, was_planned=True)
            return await self._rotate_to(planned, now, actor)
        if waiting is None:
            return None
        number = keys[-1].number
        if waiting.algorithm == algorithm and self._open(waiting) is not None:
            at = now if at_once else max(now, waiting.created_at + AHEAD)
            return await self._rotate_to(waiting, at, actor, add=[await self._new_row(number + 1, algorithm)])
        at = now if at_once else now + AHEAD
        rows = [
            await self._new_row(number + 1, algorithm, signs_from=at),
            await self._new_row(number + 2, algorithm),
        ]
        rotation = Rotation(str(rows[0]["kid"]), algorithm, at)
        return rotation if await self._change(rotation, actor, discard=waiting.number, add=rows) else None

    async def _rotate_to(
        self, key: StoredKey, at: datetime, actor: str, *, add: Sequence[Mapping[str, Any]] = ()
    ) -> Rotation | None:
        rotation = Rotation(key.kid, key.algorithm, at)
        return rotation if await self._change(rotation, actor, start=(key.number, at), add=add) else None

    async def _change(
        self,
        rotation: Rotation | None,
        actor: str,
        *,
        start: tuple[int, datetime] | None = None,
        discard: int | None = None,
        withdraw: int | None = None,
        add: Sequence[Mapping[str, Any]] = (),
    ) -> bool:
        """Write one change of the keys; return whether no other process was faster, else nothing is written."""
        try:
            async with self._database.unit() as unit:
                if start is not None and not await store.start_signing(unit, *start, now=self._clock.now()):
                    raise _AnotherWasFaster
                if discard is not None and not await store.discard(unit, discard):
                    raise _AnotherWasFaster
                if withdraw is not None:
                    await store.discard_all(unit, until=withdraw)
                await store.add(unit, add)
                if rotation is not None and self._audit is not None:
                    await _record(self._audit, unit, rotation, actor, withdrawn=withdraw is not None)
        except (IntegrityError, _AnotherWasFaster):
            return False
        return True

    async def _new_row(self, number: int, algorithm: str, *, signs_from: datetime | None = None) -> Mapping[str, Any]:
        # Making an RSA key takes a second, in which this process has more to do.
        key = await asyncio.to_thread(PrivateKey.generate, algorithm)
        return {
            "number": number,
            "kid": key.kid,
            "algorithm": algorithm,
            "public_jwk": key.public_jwk(),
            "sealed": self._sealing.seal(msgspec.json.encode(key.private_jwk()), context=_context(key.kid)),
            "created_at": self._clock.now(),
            "signs_from": signs_from,
        }


class _AnotherWasFaster(Exception):
    """The keys have changed since they were read."""


async def _record(audit: Audit, unit: Unit, rotation: Rotation, actor: str, *, withdrawn: bool) -> None:
    await audit.record(
        unit,
        "signing_keys.withdrawn" if withdrawn else "signing_keys.rotated",
        outcome="success",
        actor=actor,
        subject=None,
        client_ip=None,
        details={
            "kid": rotation.kid,
            "algorithm": rotation.algorithm,
            "signs_from": rotation.signs_from.isoformat(),
        },
    )


def _opened(key: StoredKey, sealing: KeyRing) -> PrivateKey:
    """Return the private key of a row. Raises `Unsealable` or `KeysInvalid`."""
    return PrivateKeySet.parse(b'{"keys":[' + sealing.open(key.sealed, context=_context(key.kid)) + b"]}").current


def _context(kid: str) -> bytes:
    """Bind a sealed key to its row, so that one copied into another row cannot be opened there."""
    return f"signing_key/{kid}".encode()
