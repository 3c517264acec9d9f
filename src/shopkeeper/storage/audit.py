"""The audit trail: who did what to which subject, with which outcome, from which address.

A unit's events are written with its changes, in one statement right before it commits; that of a refused attempt is
written even where the unit rolls back. Addresses are stored only as keyed hashes: two events can be compared, and a
known address can be looked up, but a stolen table reveals no address.
"""

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Index, Row, String, Table, delete, select

from shopkeeper.clock import Clock
from shopkeeper.crypto import new_id
from shopkeeper.storage.database import Unit
from shopkeeper.storage.row_changes import insert_later
from shopkeeper.storage.tables import Id, Json, Moment, metadata
from shopkeeper.tally import Tally

audit_events = Table(
    "audit_events",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", Moment, nullable=False, index=True),
    Column("action", String(100), nullable=False),
    Column("outcome", String(50), nullable=False),
    Column("actor", String(200), nullable=False),
    Column("subject", String(200)),
    Column("client", String(32)),
    Column("details", Json, nullable=False),
)
for _filter in ("action", "actor", "subject", "client"):
    Index(f"ix_audit_events_{_filter}", audit_events.c[_filter], audit_events.c.id)


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """A stored audit event. `client` is a keyed hash of the address; `Audit.client` hashes a known one."""

    id: UUID
    at: datetime
    action: str
    outcome: str
    actor: str
    subject: str | None
    client: str | None
    details: Mapping[str, Any]


class Audit:
    """Writes and reads audit events.

    Args:
        key: hashes addresses; derived for this purpose only.
        tally: counts sign-ins and registrations by what they are recorded as.

    >>> async def refuse(unit):
    ...     await audit.record(
    ...         unit, "sign_in.failed", outcome="refused", actor="anonymous", subject=None, client_ip="192.0.2.7",
    ...         details={"method": "password"}, always=True,
    ...     )
    """

    def __init__(self, clock: Clock, *, key: bytes, tally: Tally | None = None) -> None:
        if len(key) < 16:
            raise ValueError("the key for addresses needs 16 bytes at least")
        self._clock, self._key, self._tally = clock, key, tally or Tally()

    async def record(
        self,
        unit: Unit,
        action: str,
        *,
        outcome: str,
        actor: str,
        subject: str | None,
        client_ip: str | None,
        details: Mapping[str, Any] | None = None,
        always: bool = False,
    ) -> None:
        """Add an event to the caller's unit, which writes it right before it commits.

        Args:
            always: keep the event even where the unit rolls back, for refused attempts.
        """
        row = self._row(action, subject, outcome=outcome, actor=actor, ip=client_ip, details=details or {})
        insert_later(unit, audit_events, [row], always=always)
        if always:
            self._count(action, outcome, actor, details or {})
        else:

            async def count() -> None:
                self._count(action, outcome, actor, details or {})

            unit.after_commit(count)

    async def record_each(
        self,
        unit: Unit,
        action: str,
        *,
        outcome: str,
        actor: str,
        client_ip: str | None,
        details: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Add an event for each subject of `details` to the caller's unit: for what is done to many at once."""
        for subject, told in details.items():
            row = self._row(action, subject, outcome=outcome, actor=actor, ip=client_ip, details=told)
            insert_later(unit, audit_events, [row])

    def _row(
        self,
        action: str,
        subject: str | None,
        *,
        outcome: str,
        actor: str,
        ip: str | None,
        details: Mapping[str, Any],
    ) -> dict[str, Any]:
        return {
            "id": new_id(),
            "at": self._clock.now(),
            "action": action,
            "outcome": outcome,
            "actor": actor,
            "subject": subject,
            "client": None if ip is None else self.client(ip),
            "details": dict(details),
        }

    def _count(self, action: str, outcome: str, actor: str, details: Mapping[str, Any]) -> None:
        """Count what the metrics tell. An event that is written always is counted although its unit may roll back."""
        match action:
            case "session.started":
                self._tally.count("sign_ins", str(details.get("method", "")), "success")
            case "sign_in.failed":
                self._tally.count("sign_ins", str(details.get("method", "")), str(details.get("reason", outcome)))
            case "identity.created" if actor == "self":
                self._tally.count("registrations", "success")
            case "registration.refused" | "registration.failed":
                self._tally.count("registrations", str(details.get("reason", outcome)))

    def client(self, ip: str) -> str:
        """Return the keyed hash that is stored for an address; every spelling of one address gives the same hash."""
        return hmac.digest(self._key, _canonical(ip).encode(), "sha256")[:16].hex()

    async def events(
        self,
        unit: Unit,
        *,
        action: str | None = None,
        actor: str | None = None,
        subject: str | None = None,
        client: str | None = None,
        before: UUID | None = None,
        limit: int = 100,
    ) -> list[AuditEvent]:
        """Return the events that match, newest first; `before` is the id of the last event of the previous page."""
        wanted = {"action": action, "actor": actor, "subject": subject, "client": client}
        query = select(audit_events).order_by(audit_events.c.id.desc()).limit(limit)
        query = query.where(*(audit_events.c[name] == value for name, value in wanted.items() if value is not None))
        if before is not None:
            query = query.where(audit_events.c.id < before)
        return [_event(row) for row in await unit.all(query)]

    async def purge(self, unit: Unit, *, before: datetime, batch: int = 1000) -> int:
        """Delete at most `batch` events that are older than `before`; return how many were deleted."""
        old = select(audit_events.c.id).where(audit_events.c.at < before).limit(batch)
        return (await unit.write(delete(audit_events).where(audit_events.c.id.in_(old)))).rowcount


def _event(row: Row[Any]) -> AuditEvent:
    return AuditEvent(row.id, row.at, row.action, row.outcome, row.actor, row.subject, row.client, row.details)


def _canonical(ip: str) -> str:
    """Return one spelling for each address. Text that is not an address is returned unchanged: auditing never fails."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
