"""The hooks around a sign-in or a registration: what a configuration may name, and the protocols they follow.

    blocking hook   before the transaction; may call other servers; may refuse, or change the traits of a new identity
    sign-in hook    inside the transaction, after the session has started; local writes only; may refuse

A hook refuses by returning `Refuse`: its effect commits in a unit of its own, the session does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from shopkeeper.client import Client
from shopkeeper.credentials.steps import Effect
from shopkeeper.errors import Refusal
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.values import Session
from shopkeeper.storage.database import Unit


@dataclass(frozen=True, slots=True)
class Refuse:
    """A hook's refusal. `effect` commits although the sign-in does not, such as a verification flow that follows."""

    error: Refusal
    effect: Effect | None = None


class HookRefused(Exception):
    """A hook has refused inside the transaction: raised to roll it back."""

    def __init__(self, refuse: Refuse) -> None:
        super().__init__(refuse.error.code)
        self.refuse = refuse


@dataclass(frozen=True, slots=True)
class HookSubject:
    """The identity that signs in or registers. A new one has its real id already; `traits` are those that would be
    stored."""

    flow: str
    method: str
    identity_id: UUID
    client: Client
    traits: Mapping[str, Any] = field(default_factory=dict)


class BlockingHook(Protocol):
    """A hook before the transaction. No transaction is open while it runs, so it may wait for another server."""

    async def __call__(self, subject: HookSubject) -> Refuse | Mapping[str, Any] | None:
        """Return None to continue, other traits for a new identity, or `Refuse`."""
        ...


class SignInHook(Protocol):
    """A hook inside the transaction of a sign-in."""

    async def __call__(self, unit: Unit, *, session: Session, client: Client) -> Refuse | None:
        """Return None to continue, or `Refuse`."""
        ...


@dataclass(frozen=True, slots=True)
class RevokeActiveSessions:
    """`revoke_active_sessions`: signing in ends the identity's other sessions."""

    sessions: Sessions

    async def __call__(self, unit: Unit, *, session: Session, client: Client) -> None:
        await self.sessions.revoke_others(unit, session, client=client)
