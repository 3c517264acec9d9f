"""Makes the keys by which this server signs tokens, and lets one after another sign.

The key that signs next is published long before it does, so that every process and every verifier knows it by then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy.exc import IntegrityError

from shopkeeper.clock import Clock
from shopkeeper.errors import Conflict
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.database import Database, Unit
from shopkeeper.tokens import signing_key_store as store
from shopkeeper.tokens.key_schedule import StoredKey, Turn, current_of, scheduled_of, turns, waiting_of
from shopkeeper.tokens.sealed_keys import SealedKeys

FRESH: Final = timedelta(seconds=30)
"""How old the keys may be that a process works with: a change is known everywhere by then."""
AHEAD: Final = timedelta(minutes=15)
"""How long a key is published before it signs. Verifiers keep a key set for five minutes, often longer."""
_TRIES: Final = 3
"""How often a change is tried that another process made at the same moment."""
_MEANWHILE: Final = "Another process rotates the signing keys at this moment. Look with: shopkeeper keys list"

log = structlog.get_logger("shopkeeper.tokens")


@dataclass(frozen=True, slots=True)
class Rotation:
    """The result of a rotation: the key that signs from a moment on, and whether an earlier one had planned that."""

    kid: str
    algorithm: str
    signs_from: datetime
    was_planned: bool = False


class KeyRotation:
    """Writes the signing keys.

    Args:
        sealed: makes and opens the private keys.
        algorithm: of the keys that are made.
        rotate_after: how long a key signs until the next one does by itself; None for no such rotation.
        kept_for: how long a key stays published after it was replaced: longer than any token lives that it signed.
        audit: records rotations.
    """

    def __init__(
        self,
        database: Database,
        *,
        sealed: SealedKeys,
        clock: Clock,
        algorithm: str = "ES256",
        rotate_after: timedelta | None = None,
        kept_for: timedelta = timedelta(days=1),
        audit: Audit | None = None,
    ) -> None:
        self._database, self._sealed, self._clock = database, sealed, clock
        self._algorithm, self._rotate_after = algorithm, rotate_after
        self._kept_for = kept_for + FRESH
        self._audit = audit

    async def list_turns(self) -> Sequence[Turn]:
        """Return the published keys with their states, read now. None is made."""
        return self._turns(await self._stored())

    async def complete(self) -> Sequence[Turn]:
        """Return the published keys, read now, after adding those that are missing and rotating where it is time.

        Raises `DatabaseUnavailable`.
        """
        for _ in range(_TRIES):
            keys = await self._stored()
            published = self._turns(keys)
            if current_of(published) is None or waiting_of(published) is None:
                await self._add_missing(keys, published)
            elif self._is_due(published):
                await self._try_to_rotate(self._algorithm, at_once=False, keys=keys)
            else:
                return published
        return await self.list_turns()

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
        await self.complete()
        for _ in range(_TRIES):
            rotation = await self._try_to_rotate(algorithm or self._algorithm, at_once=at_once, actor=actor)
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

    # -- one change ----------------------------------------------------------------------------------------------------

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
        if waiting.algorithm == algorithm and self._sealed.open(waiting) is not None:
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

    async def _stored(self) -> Sequence[StoredKey]:
        async with self._database.reading() as unit:
            return await store.every_key(unit)

    def _turns(self, keys: Sequence[StoredKey]) -> Sequence[Turn]:
        return turns(keys, self._clock.now(), kept_for=self._kept_for)

    async def _new_row(self, number: int, algorithm: str, *, signs_from: datetime | None = None) -> Mapping[str, Any]:
        return await self._sealed.new_row(number, algorithm, now=self._clock.now(), signs_from=signs_from)


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
