"""Refresh by rotation: families of tokens in which each has one successor (RFC 9700 section 4.14.2).

A token that is replaced still answers for a short while, because two tabs, a lost answer or a retry are no thieves: it
leads to its one successor, and where that was replaced as well, on to the one that is good now. Whoever asks for a
successor of it after that while holds a copy of what its owner has given up: the family ends.

Only asking for a successor counts. Whoever shows such a token for anything else is refused and nothing more: a cookie
that another tab has outlived and a page that slept show it too, and would sign their owner out everywhere, while a
thief gets nothing by it.

The successor is kept for that while, sealed under a key derived from the token it replaced; so whoever reads the
database finds no token in it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from shopkeeper.clock import Clock
from shopkeeper.crypto import KeyRing, digest
from shopkeeper.sessions import refresh_store as store
from shopkeeper.sessions.refresh_store import Replaced
from shopkeeper.storage.database import Unit

MOST_HOPS = 50
"""How many successors are followed. Nobody refreshes that often within one window but a client that has gone astray."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A replaced token, presented again while it still answers. `until` is when it stops."""

    family: UUID
    successor: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Reuse:
    """A replaced token, presented when its time was over: the family is to be revoked."""

    family: UUID


class RefreshTokens:
    """Remembers successors, and says how long a family may go on.

    Args:
        clock: the time.
        lifespan: how long a family lives, counted from its first token, however often it is refreshed.
        idle: how long after its own end a token may still be refreshed; for as long as its family lives when unset.
        replay_window: how long a replaced token still answers, with its one successor.
    """

    def __init__(
        self, *, clock: Clock, lifespan: timedelta, replay_window: timedelta, idle: timedelta | None = None
    ) -> None:
        if replay_window >= lifespan:
            raise ValueError("the replay window must be shorter than the lifespan of a family")
        self._clock = clock
        self.lifespan = lifespan
        self.idle = lifespan if idle is None else idle
        self.replay_window = replay_window

    def last_moment(self, *, begun_at: datetime, expires_at: datetime) -> datetime:
        """Until when a family may be refreshed that began then, and whose present token ends then."""
        return min(begun_at + self.lifespan, expires_at + self.idle)

    async def replace(self, unit: Unit, token: str, *, successor: str, family: UUID) -> None:
        """Keeps that a token was replaced. The caller has made sure, in this unit, that it happens once."""
        sealed = _ring(token).seal(successor.encode(), context=family.bytes)
        await store.add(unit, digest(token), Replaced(family, self._clock.now(), sealed))

    async def withdraw(self, unit: Unit, family: UUID) -> None:
        """Ends the replay window of every replaced token of a family: none of them answers any more.

        Reuse is still recognised once the window would have been over; until then such a token is refused and ends
        nothing, because a second tab that still holds it is no thief.
        """
        await store.withdraw_successors(unit, family)

    async def recall(self, unit: Unit, token: str) -> Replay | Reuse | None:
        """What presenting this token means, if it was replaced at some time."""
        found = await store.get(unit, digest(token))
        if found is None:
            return None
        until = found.replaced_at + self.replay_window
        if until <= self._clock.now():
            return Reuse(found.family)
        if not found.successor:
            return None
        return Replay(found.family, _ring(token).open(found.successor, context=found.family.bytes).decode(), until)

    async def newest(self, unit: Unit, replay: Replay) -> str:
        """The token at the end of the chain: a successor that was replaced as well would soon be taken for a thief's.

        Each was replaced after the one before it, so while the first of them answers, all of them do.
        """
        token = replay.successor
        for _ in range(MOST_HOPS):
            further = await self.recall(unit, token)
            if not isinstance(further, Replay):
                return token
            token = further.successor
        return token


def _ring(token: str) -> KeyRing:
    return KeyRing([token], purpose="tokens/successor")
