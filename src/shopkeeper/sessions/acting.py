"""Acting as a customer or guest (impersonation): whether an agent may go on, and what ends it.

An impersonation is good while it has not ended itself, its agent's session is good, the agent is one still, and the
admin key that started it is configured. What ends a session ends what depends on it in the same transaction
(`end_with`), and so does a change of groups (`end_disallowed`). The announcement of the agent's session or identity
drops the impersonated session from all caches (`cache.py`).
"""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, true

from shopkeeper.clock import Clock
from shopkeeper.identity.changes import EVERY_IDENTITY
from shopkeeper.identity.values import Identity
from shopkeeper.sessions import impersonation_store as rows
from shopkeeper.sessions import store
from shopkeeper.sessions.impersonation_store import Impersonation, Kind, Standing
from shopkeeper.sessions.values import Actor
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.database import Database, Unit
from shopkeeper.tally import Tally


@dataclass(frozen=True, slots=True)
class Agents:
    """Who may act as others.

    Args:
        ids: identities, by their ids.
        groups: groups, by their names, whose members may.
        named: whether an admin key may name an agent who has no session here.
    """

    ids: frozenset[UUID] = frozenset()
    groups: frozenset[str] = frozenset()
    named: bool = False

    def include(self, identity: Identity) -> bool:
        """Whether an identity is an agent; it was read with its groups."""
        return identity.id in self.ids or not self.groups.isdisjoint(identity.groups)


@dataclass(frozen=True, slots=True)
class Acting:
    """Looks impersonations up, and ends them.

    Args:
        keys: the ids of the admin keys that may impersonate: what another one has started is good no more.
        agents: who may: an impersonation is not valid any more where its agent is no agent any more.
        protected_groups: the groups whose members are never impersonated.
    """

    database: Database
    clock: Clock
    audit: Audit
    tally: Tally
    keys: Collection[str]
    agents: Agents
    protected_groups: frozenset[str] = frozenset()

    async def standing(self, unit: Unit, id_: UUID) -> Standing | None:
        """Return an impersonation that may still be used, or None."""
        found = await rows.standing(unit, id_, now=self.clock.now())
        return found if found is not None and await self._is_allowed(unit, found.impersonation) else None

    async def agent_in(self, id_: UUID) -> str | None:
        """Return the agent of an impersonation that may still be used, or None; looked up in a unit of its own."""
        async with self.database.reading() as unit:
            found = await self.standing(unit, id_)
        return found.impersonation.actor.subject if found is not None else None

    async def end_with(self, unit: Unit, ended: ColumnElement[bool], *, by: str | None = None) -> list[UUID]:
        """End the impersonations in and by some sessions that this unit ends; return the sessions that end with them.

        `ended` is a condition on the table of sessions. `by` is who ends them; the agent where it is None.
        """
        return await self.end(unit, rows.of_sessions(ended), by=by)

    async def end_of_agent(self, unit: Unit, identity_id: UUID) -> list[UUID]:
        """End what an agent has started, whose earlier proofs are no longer valid; return the sessions."""
        return await self.end(unit, rows.by_agent(identity_id))

    async def end_disallowed(self, unit: Unit, identity_id: UUID) -> list[UUID]:
        """End what the groups of an identity allow no more, those of an agent or of a customer; return the sessions.

        So nothing lives again where the groups are changed back. `identity_id` may be `EVERY_IDENTITY`.
        """
        if not self.agents.groups and not self.protected_groups:
            return []
        chosen = true() if identity_id == EVERY_IDENTITY else rows.concerning(identity_id)
        open_ = await rows.open_ones(unit, chosen, now=self.clock.now())
        ended = [each.id for each in open_ if not await self._is_allowed(unit, each)]
        return await self.end(unit, rows.with_ids(ended), by="system") if ended else []

    async def end(self, unit: Unit, chosen: ColumnElement[bool], *, by: str | None = None) -> list[UUID]:
        """End impersonations and their sessions; return the ids of these sessions, which the caller announces.

        The sessions are locked first, as where a session is revoked and its impersonation ends with it.
        """
        now = self.clock.now()
        open_ = await rows.open_ones(unit, chosen, now=now)
        if not open_:
            return []
        acted_in = sorted(each.id for each in open_ if each.kind is Kind.CUSTOMER)
        if acted_in:
            await store.revoke_in_order(unit, store.with_ids(acted_in), at=now)
        for each in await rows.end(unit, [each.id for each in open_], at=now, by=by):
            await self._note(unit, each, by=by)
        return acted_in

    async def _is_allowed(self, unit: Unit, impersonation: Impersonation) -> bool:
        """Whether the settings and the groups of today allow what was started."""
        if impersonation.actor.key not in self.keys:
            return False
        if await self._is_out_of_bounds(unit, impersonation.identity_id):
            return False
        return await self._still_an_agent(unit, impersonation.actor)

    async def _is_out_of_bounds(self, unit: Unit, customer_id: UUID | None) -> bool:
        """Whether a customer became an agent, or a member of a protected group, meanwhile."""
        if customer_id is None:
            return False
        if customer_id in self.agents.ids:
            return True
        groups = self.agents.groups | self.protected_groups
        return bool(groups) and await rows.is_member(unit, customer_id, groups)

    async def _still_an_agent(self, unit: Unit, actor: Actor) -> bool:
        if actor.identity_id is None:
            return self.agents.named
        if actor.identity_id in self.agents.ids:
            return True
        return bool(self.agents.groups) and await rows.is_member(unit, actor.identity_id, self.agents.groups)

    async def _note(self, unit: Unit, ended: Impersonation, *, by: str | None) -> None:
        self.tally.count("impersonations", "ended")
        await self.audit.record(
            unit,
            "impersonation.ended",
            outcome="success",
            actor=by or ended.actor.subject,
            subject=ended.subject,
            client_ip=None,
            details={"impersonation": str(ended.id), "agent": ended.actor.subject, "orders": ended.orders},
        )
