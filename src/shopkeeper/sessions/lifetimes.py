"""How long sessions live: until their absolute end, or until they were not used for a while."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from shopkeeper.sessions.values import Session

COARSEST: Final = timedelta(minutes=5)
"""A use is written down at most once in this time, for each session."""
MOST_SESSIONS: Final = 100


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """The lifetimes of sessions, and how many an identity may have.

    Args:
        lifespan: how long a session lives after it was started, extended or refreshed.
        kept: the same for sessions that are kept signed in; `lifespan` where it is None.
        absolute: how long a session lives at most, however often it is extended or refreshed; None limits nothing.
        idle: a session ends when it was not used for this long; None ends none. Sessions that are kept signed in have
            no such end.
        most: how many live sessions an identity may have; None limits nothing.
    """

    lifespan: timedelta
    kept: timedelta | None = None
    absolute: timedelta | None = None
    idle: timedelta | None = None
    most: int | None = None

    def expiry(
        self, *, issued_at: datetime, now: datetime, kept: bool | None, ends_by: datetime | None = None
    ) -> datetime:
        """Return when a session ends that is started, extended or refreshed now; at `ends_by` at the latest."""
        lifespan = self.kept if kept and self.kept is not None else self.lifespan
        ends = [now + lifespan, issued_at + self.absolute if self.absolute is not None else None, ends_by]
        return min(end for end in ends if end is not None)

    def last_moment(self, session: Session) -> datetime:
        """Return when a session ends at the latest; far in the future where nothing limits it."""
        last = datetime.max.replace(tzinfo=UTC) if self.absolute is None else session.issued_at + self.absolute
        return last if session.ends_by is None else min(last, session.ends_by)

    def idle_end(self, *, now: datetime, kept: bool | None) -> datetime | None:
        """Return when a session ends that is used now, and not again; None where it has no such end."""
        return None if self.idle is None or kept else now + self.idle

    def outdated(self, session: Session, now: datetime) -> bool:
        """Whether the stored idle end of a session that is used now has to be written anew.

        It is so when a while has passed, and where other settings were in effect before.
        """
        stored = session.idle_ends_at
        if self.idle is None:
            return stored is not None
        wanted = self.idle_end(now=now, kept=session.kept)
        if wanted is None or stored is None:
            return wanted is not stored
        return abs(wanted - stored) >= min(COARSEST, self.idle / 10)
