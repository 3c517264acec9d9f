"""What happens after a flow has done its work: protocols, and the hooks that exist by their configured names.

Hooks run inside the unit of work of the submit that caused them: if one raises, nothing of it has happened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from shopkeeper.identity.values import Identity
from shopkeeper.sessions.values import Session
from shopkeeper.storage.database import Unit


class AfterSignIn(Protocol):
    """Something to be done once somebody has signed in, by whichever flow."""

    async def __call__(self, unit: Unit, *, session: Session, guest: str | None) -> None:
        """`guest` is the anonymous visitor that the customer was until now."""
        ...


class AfterRegistration(Protocol):
    """Something to be done once an identity was registered."""

    async def __call__(self, unit: Unit, *, identity: Identity) -> None: ...


@dataclass(frozen=True, slots=True)
class Hooks:
    """The names of the hooks configured for one kind of flow. Those of a method stand instead of the general ones."""

    by_method: Mapping[str, Sequence[str]] = field(default_factory=dict)
    general: Sequence[str] = ()

    def after(self, method: str) -> Sequence[str]:
        """The names of the hooks to run after a method."""
        return self.by_method.get(method) or self.general


class Revoking(Protocol):
    """The part of the sessions room that a hook needs."""

    async def revoke_others(self, unit: Unit, current: Session) -> int: ...


@dataclass(frozen=True, slots=True)
class RevokeActiveSessions:
    """`revoke_active_sessions`: signing in ends the identity's other sessions."""

    sessions: Revoking

    async def __call__(self, unit: Unit, *, session: Session, guest: str | None) -> None:
        await self.sessions.revoke_others(unit, session)
