"""Revokes sessions. Every revocation goes through here, so that what other packages keep of a session ends with it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias
from uuid import UUID

from sqlalchemy import ColumnElement

from shopkeeper.clock import Clock
from shopkeeper.sessions import store as rows
from shopkeeper.sessions.acting import Acting
from shopkeeper.storage.database import Unit

ForgetEnded: TypeAlias = Callable[[Unit, ColumnElement[bool]], Awaitable[None]]
"""Deletes what other packages keep of sessions that a unit has revoked; the condition is on the table of sessions."""

Announce: TypeAlias = Callable[[Unit, Sequence[UUID]], None]
"""Drops sessions from all caches after a unit has committed."""


class Revocation:
    """Revokes sessions, and has what other packages keep of them deleted by the same transaction.

    Args:
        forget: called with each revocation that changed something. Deleted sessions cascade in the database.
        acting: ends the sessions in which the agents of revoked sessions act; None where that is switched off.
        announce: announces those sessions.
    """

    def __init__(
        self, *, clock: Clock, announce: Announce, forget: ForgetEnded | None = None, acting: Acting | None = None
    ) -> None:
        self._clock, self._forget, self._acting, self._announce = clock, forget, acting, announce

    async def revoke(self, unit: Unit, chosen: ColumnElement[bool], *, by: str | None = None) -> int:
        """Revoke sessions that are not, and return how many. `by` is who does it, for the impersonations that end."""
        ended = await rows.revoke(unit, chosen, at=self._clock.now())
        if ended:
            await self._forget_ended(unit, chosen, by=by)
        return ended

    async def revoke_in_order(self, unit: Unit, chosen: ColumnElement[bool], *, by: str | None = None) -> int:
        """Revoke sessions as `revoke` does, locked in the order of their ids. The caller has locked the identity."""
        ended = await rows.revoke_in_order(unit, chosen & rows.NOT_REVOKED, at=self._clock.now())
        if ended:
            await self._forget_ended(unit, chosen, by=by)
        return ended

    async def revoke_surplus(self, unit: Unit, identity_id: UUID, *, most: int) -> Sequence[UUID]:
        """Revoke the live sessions of an identity beyond its `most` newest ones, as `store.revoke_surplus` does."""
        surplus = await rows.revoke_surplus(unit, identity_id, most=most, at=self._clock.now())
        if surplus:
            await self._forget_ended(unit, rows.with_ids(surplus))
        return surplus

    async def end_acting(self, unit: Unit, ended: ColumnElement[bool], *, by: str | None = None) -> None:
        """End the impersonations in and by sessions that this unit revokes, or is about to delete."""
        if self._acting is not None:
            self._announce(unit, await self._acting.end_with(unit, ended, by=by))

    async def end_agent(self, unit: Unit, identity_id: UUID) -> None:
        """End what an agent has started, also from a session that is spared."""
        if self._acting is not None:
            self._announce(unit, await self._acting.end_of_agent(unit, identity_id))

    async def end_disallowed(self, unit: Unit, identity_id: UUID) -> None:
        """End the impersonations by and of an identity that its groups allow no more."""
        if self._acting is not None:
            self._announce(unit, await self._acting.end_disallowed(unit, identity_id))

    async def _forget_ended(self, unit: Unit, revoked: ColumnElement[bool], *, by: str | None = None) -> None:
        if self._forget is not None:
            await self._forget(unit, revoked)
        await self.end_acting(unit, revoked, by=by)
