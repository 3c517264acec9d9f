"""Refresh by rotation: families of tokens in which each has one successor (RFC 9700 section 4.14.2).

For a short window a replaced token is still accepted for refreshing, because two tabs, a lost response and a retry are
not theft. It leads to its successor and, where that was replaced as well, on to the current token. A caller that
refreshes it after the window holds a copy of a token that its owner has given up: the family is revoked.

Only refreshing counts as reuse. Any other use of such a token is refused without consequences: cookies of other tabs
and pages that were asleep present them, too. Revoking would sign their owner out everywhere, while an attacker gains
nothing from that use.

The successor is stored for the window, sealed with a key derived from the token it replaced, so the database holds no
usable token.
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
"""How many successors are followed. Only a faulty client refreshes that often within one window."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A replaced token, presented within its window. `until` is the end of that window."""

    family: UUID
    successor: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Reuse:
    """A replaced token, presented after its window: the family must be revoked."""

    family: UUID


class RefreshTokens:
    """Stores successors, and computes how long a family may be refreshed.

    Args:
        clock: sets and checks the times.
        lifespan: how long a family lives, counted from its first token, however often it is refreshed.
        idle: how long after its expiry a token may still be refreshed; as long as its family lives when unset.
        replay_window: how long a replaced token is still accepted, with its one successor.
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
        """Return until when a family may be refreshed, from its beginning and its current token's expiry."""
        return min(begun_at + self.lifespan, expires_at + self.idle)

    async def replace(self, unit: Unit, token: str, *, successor: str, family: UUID) -> None:
        """Store that a token was replaced. The caller ensures, in this unit, that this happens once."""
        sealed = _ring(token).seal(successor.encode(), context=family.bytes)
        await store.add(unit, digest(token), Replaced(family, self._clock.now(), sealed))

    async def withdraw(self, unit: Unit, family: UUID) -> None:
        """End the replay window of every replaced token of a family, so that all of them are refused.

        Reuse is still detected after the window would have ended. Until then such a token is refused, but the family is
        not revoked, because a second tab may still hold it.
        """
        await store.withdraw_successors(unit, family)

    async def recall(self, unit: Unit, token: str) -> Replay | Reuse | None:
        """Return what presenting a token means, or None where it was not replaced or its successor was withdrawn."""
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
        """Follow the successors to the current token: refreshing a replaced one would soon count as reuse.

        Each token was replaced after the one before it, so while the first of them is accepted, all of them are.
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
