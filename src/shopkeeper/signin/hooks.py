"""The hooks that a configuration may name, done once somebody has signed in.

Hooks run inside the unit of work of the submit that caused them: if one raises, nothing of it has happened.
"""

from dataclasses import dataclass
from typing import Protocol

from shopkeeper.identity.values import Client
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.values import Session
from shopkeeper.storage.database import Unit


class AfterSignIn(Protocol):
    """Something to be done once somebody has signed in, by whichever flow."""

    async def __call__(self, unit: Unit, *, session: Session, client: Client) -> None: ...


@dataclass(frozen=True, slots=True)
class RevokeActiveSessions:
    """`revoke_active_sessions`: signing in ends the identity's other sessions."""

    sessions: Sessions

    async def __call__(self, unit: Unit, *, session: Session, client: Client) -> None:
        await self.sessions.revoke_others(unit, session, client=client)
