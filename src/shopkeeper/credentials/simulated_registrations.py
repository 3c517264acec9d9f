"""Registrations that were only simulated, because an identifier is taken: who signs in to them is refused as real
accounts are that nobody has verified.

Where signing in needs a verified address, whoever has registered learns so from the password that they chose, or by the
account at a provider that they came with. If a password of a simulated registration were simply wrong, or such an
account registered once more, that would tell a taken identifier from a free one. So they are remembered: a password as
an HMAC with its identifier, an account as one of issuer and subject. The key is not in the database, and nothing can be
signed in to with it.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Column, Index, LargeBinary, String, Table, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from shopkeeper import crypto
from shopkeeper.clock import Clock
from shopkeeper.crypto import KeyRing, Unsealable
from shopkeeper.identity.unique_names import lookup_key
from shopkeeper.identity.values import Identity
from shopkeeper.storage.database import Unit
from shopkeeper.storage.tables import Id, Moment, metadata

KEPT_FOR: Final = timedelta(days=400)
PURPOSE: Final = "simulated registrations"
_WAS_TAKEN: Final = "taken "  # what is sealed before an address that was taken

simulated_registrations = Table(
    "simulated_registrations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    # Sealed: the address that the registration would have verified; empty where there was none.
    Column("address", String(1024), nullable=False),
    Column("created_at", Moment, nullable=False),
    Index(None, "created_at"),
)
_INSERT: Final[Mapping[str, Any]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


@dataclass(frozen=True, slots=True)
class SimulatedRegistration:
    """A registration that created nothing, and the address that it would have verified first.

    Args:
        address_was_taken: whether it is known that it created nothing because of this address.
    """

    id: UUID
    address: str | None
    address_was_taken: bool = False


class SimulatedRegistrations:
    """Remembers them.

    Args:
        key: keys the HMACs; derived for this purpose.
        keys: seal the addresses.
    """

    def __init__(self, *, key: bytes, keys: KeyRing, clock: Clock) -> None:
        self._key = key
        self._keys = keys
        self._clock = clock

    async def remember(
        self,
        unit: Unit,
        identity: Identity | None,
        *,
        names: Sequence[str],
        secret: str,
        address_was_taken: bool = False,
        anew: bool = False,
    ) -> None:
        """Remember the registration of a simulated identity, by each name with the secret; for None, which is a real
        one, do as much work.

        Args:
            address_was_taken: see `SimulatedRegistration`.
            anew: forget an earlier one with this name and secret; without it, that one stays.
        """
        if identity is None:
            await unit.write(delete(simulated_registrations).where(simulated_registrations.c.id == crypto.new_id()))
            return
        digests, now = [self._digest(name, secret) for name in names], self._clock.now()
        if not digests or not identity.unverified:
            return
        rows = [
            {"id": crypto.new_id(), "digest": digest, "created_at": now}
            | {"address": self._sealed(identity, digest, address_was_taken=address_was_taken)}
            for digest in digests
        ]
        adding: Any = _INSERT[unit.dialect](simulated_registrations).values(rows)
        newer = {name: adding.excluded[name] for name in ("address", "created_at")}
        await unit.write(
            adding.on_conflict_do_update(index_elements=["digest"], set_=newer)
            if anew
            else adding.on_conflict_do_nothing(index_elements=["digest"])
        )

    async def find(self, unit: Unit, name: str, secret: str) -> SimulatedRegistration | None:
        """Return the registration with this name and secret; None where there was none."""
        digest = self._digest(name, secret)
        row = await unit.first(select(simulated_registrations).where(simulated_registrations.c.digest == digest))
        if row is None:
            return None
        try:
            address = self._keys.open_text(row.address, context=digest).decode()
        except Unsealable:  # the secret that sealed it is gone
            return None
        known = address.removeprefix(_WAS_TAKEN)
        return SimulatedRegistration(row.id, known or None, address_was_taken=address != known)

    def _sealed(self, identity: Identity, digest: bytes, *, address_was_taken: bool) -> str:
        known = f"{_WAS_TAKEN if address_was_taken else ''}{identity.address_to_verify or ''}"
        return self._keys.seal_text(known.encode(), context=digest)

    def _digest(self, name: str, secret: str) -> bytes:
        text = "\0".join(f"{len(part)}:{part}" for part in (lookup_key(name), secret))
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256")


async def purge(unit: Unit, before: datetime, batch: int) -> int:
    """Forget registrations from before a moment, at most `batch`; return how many."""
    created = simulated_registrations.c.created_at
    old = select(simulated_registrations.c.id).where(created < before).order_by(created).limit(batch)
    return (await unit.write(delete(simulated_registrations).where(simulated_registrations.c.id.in_(old)))).rowcount
