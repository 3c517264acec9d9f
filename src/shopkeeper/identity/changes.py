"""Records and publishes a change of an identity, inside the transaction that makes it.

    audit trail         who changed what, and from where
    listeners           drop what is cached about the identity, after the commit
    on_access_revoked   end the sessions whose proof is no longer valid
    on_deleted          delete what the same database stores about the identity
    events              the outbox, for listeners outside the transaction: remote engines, webhooks

`Change` has no values of an identity, so no personal data reaches the outbox or the audit trail.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import UUID

from shopkeeper.clock import Clock
from shopkeeper.identity.facts import FactsByType, facts_of
from shopkeeper.identity.values import Identity
from shopkeeper.storage.database import Unit

CHANGED: Final = "identity.changed"
DELETED: Final = "identity.deleted"
"""Topics of the outbox. The key is the id of the identity; the payload has `identity_id`, `changed` and `at`."""

EVERY_IDENTITY: Final = UUID(int=0)
"""As an id for listeners: all that is cached about any identity is out of date."""

Listener = Callable[[Unit, UUID], Awaitable[None]]
"""Called with the id of an identity inside the unit that changes it."""

AccessListener = Callable[[Unit, UUID, UUID | None], Awaitable[None]]
"""Called with the id of an identity whose earlier proofs are no longer valid, and the session to spare, if any."""


class AuditTrail(Protocol):
    """Records changes. `storage.audit.Audit` implements it."""

    async def record(
        self,
        unit: Unit,
        action: str,
        *,
        outcome: str,
        actor: str,
        subject: str | None,
        client_ip: str | None,
        details: Mapping[str, Any] = ...,
        always: bool = ...,
    ) -> None: ...


class Events(Protocol):
    """Queues events in the transaction of the change. `storage.outbox.Outbox` implements it."""

    async def add(self, unit: Unit, topic: str, *, key: str, payload: Mapping[str, Any]) -> object:
        """Queue one event."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """A change of an identity, as it is recorded and published: names of fields, no values.

    Args:
        action: the action in the audit trail.
        changed: the names of the changed fields, for the event; nothing is published where it is empty.
        details: the details in the audit trail.
    """

    action: str
    identity_id: UUID
    actor: str
    client_ip: str | None
    changed: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


class ChangePublisher:
    """Records and publishes changes. The module's docstring lists the recipients; each of them is optional."""

    def __init__(
        self,
        *,
        clock: Clock,
        audit: AuditTrail | None,
        events: Events | None,
        listeners: Sequence[Listener],
        on_access_revoked: Sequence[AccessListener],
        on_deleted: Sequence[Listener],
        facts: FactsByType,
    ) -> None:
        self._clock = clock
        self._audit = audit
        self._events = events
        self._listeners = listeners
        self._on_access_revoked = on_access_revoked
        self._on_deleted = on_deleted
        self._facts = facts

    async def created(self, unit: Unit, change: Change) -> None:
        """Record and publish a new identity. Nothing is cached about it yet."""
        await self.record(unit, change)
        await self._publish(unit, CHANGED, change)

    async def changed(
        self, unit: Unit, change: Change, before: Identity, after: Identity, *, spare: UUID | None = None
    ) -> None:
        """Record and publish a change. Where earlier proofs are no longer valid, sessions end, except `spare`."""
        await self.record(unit, change)
        await self.invalidate(unit, change.identity_id)
        for revoked in self._on_access_revoked if _access_revoked(before, after, self._facts) else ():
            await revoked(unit, change.identity_id, spare)
        # Events come last: adding one may wait for other units with the same key.
        await self._publish(unit, CHANGED, change)

    async def taken_back(self, unit: Unit, change: Change) -> None:
        """Record and publish a change after which no earlier proof is valid: every session ends."""
        await self.record(unit, change)
        await self.invalidate(unit, change.identity_id)
        await self.revoke(unit, change.identity_id)
        await self._publish(unit, CHANGED, change)

    async def revoke(self, unit: Unit, identity_id: UUID) -> None:
        """End every session, because no earlier proof is valid any more."""
        for revoked in self._on_access_revoked:
            await revoked(unit, identity_id, None)

    async def changed_aside(self, unit: Unit, change: Change) -> None:
        """Record and publish a change that leaves every proof valid, such as a verified address."""
        await self.record(unit, change)
        await self.invalidate(unit, change.identity_id)
        await self._publish(unit, CHANGED, change)

    async def deleted(self, unit: Unit, change: Change) -> None:
        """Record and publish a deletion."""
        await self.record(unit, change)
        await self.invalidate(unit, change.identity_id)
        for forget in self._on_deleted:
            await forget(unit, change.identity_id)
        await self._publish(unit, DELETED, change)

    async def invalidate(self, unit: Unit, identity_id: UUID) -> None:
        """Drop what is cached about an identity, after the commit."""
        for listener in self._listeners:
            await listener(unit, identity_id)

    async def record(self, unit: Unit, change: Change, *, outcome: str = "success", always: bool = False) -> None:
        """Write to the audit trail. `always` keeps the record even if the unit rolls back."""
        if self._audit is not None:
            await self._audit.record(
                unit,
                change.action,
                outcome=outcome,
                actor=change.actor,
                subject=str(change.identity_id),
                client_ip=change.client_ip,
                details=change.details,
                always=always,
            )

    async def _publish(self, unit: Unit, topic: str, change: Change) -> None:
        if self._events is None or not change.changed:
            return
        subject = str(change.identity_id)
        at = self._clock.now().isoformat()
        payload = {"identity_id": subject, "changed": list(change.changed), "at": at}
        await self._events.add(unit, topic, key=subject, payload=payload)


def differences(before: Identity, after: Identity) -> list[str]:
    """Return the names of the fields that differ, without their values."""
    return [name for name in _COMPARED if getattr(before, name) != getattr(after, name)]


_COMPARED: Final = (
    "schema_id",
    "state",
    "traits",
    "metadata_public",
    "metadata_admin",
    "external_id",
    "credentials",
    "verifiable_addresses",
    "groups",
)


def _access_revoked(before: Identity, after: Identity, facts: FactsByType) -> bool:
    """Whether a session opened before the change might not be allowed after it.

    A config that follows from the traits holds no secret: another e-mail address ends no session.
    """
    known = ((credential, facts_of(facts, type_)) for type_, credential in before.credentials.items())
    replaced = any(
        credential.type not in after.credentials or not of_type.extends(after.credentials[credential.type], credential)
        for credential, of_type in known
        if of_type.config_from_traits is None
    )
    return replaced or (before.active and not after.active)
