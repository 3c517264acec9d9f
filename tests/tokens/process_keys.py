"""The signing keys of one process, which may change them as the command does."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from shopkeeper.clock import Clock
from shopkeeper.crypto import KeyRing
from shopkeeper.storage.database import Database, Unit
from shopkeeper.tokens.key_rotation import KeyRotation, Rotation
from shopkeeper.tokens.key_schedule import Turn
from shopkeeper.tokens.sealed_keys import PURPOSE, SealedKeys
from shopkeeper.tokens.signing_keys import SigningKeys


class ProcessKeys(SigningKeys):
    """The keys in a database; this process reads them after its own changes, others when they do by themselves."""

    def __init__(self, database: Database, secrets: Sequence[str], clock: Clock, **options: Any) -> None:
        sealed = SealedKeys(KeyRing(secrets, purpose=PURPOSE))
        self._writing = KeyRotation(database, sealed=sealed, clock=clock, **options)
        super().__init__(self._writing, sealed=sealed, clock=clock)

    async def rotate(self, algorithm: str | None = None, **options: Any) -> Rotation:
        rotation = await self._writing.rotate(algorithm, **options)
        await self._known.renew()
        return rotation

    async def withdraw(self, **options: Any) -> Rotation:
        rotation = await self._writing.withdraw(**options)
        await self._known.renew()
        return rotation

    async def list_turns(self) -> Sequence[Turn]:
        return await self._writing.list_turns()

    async def purge(self, unit: Unit, before: datetime, batch: int) -> int:
        return await self._writing.purge(unit, before, batch)
