"""Which of the signing keys is used when, as pure functions of the stored keys and the time.

A key is published before it signs (`next`), signs (`current`), and stays published until what it signed has expired
(`retired`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Literal

State = Literal["next", "current", "retired"]


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A row of the table. `sealed` is the private key, `signs_from` is None until the key's turn is known."""

    number: int
    kid: str
    algorithm: str
    public_jwk: Mapping[str, Any] = field(repr=False)
    sealed: bytes = field(repr=False)
    created_at: datetime
    signs_from: datetime | None

    def signs_at(self, now: datetime) -> bool:
        """Return whether the key's turn has come. It may be over."""
        return self.signs_from is not None and self.signs_from <= now


@dataclass(frozen=True, slots=True)
class Turn:
    """A key and its state. `replaced_at` is when another one took over, None where none has."""

    key: StoredKey
    state: State
    replaced_at: datetime | None = None


def turns(keys: Sequence[StoredKey], now: datetime, *, kept_for: timedelta) -> Sequence[Turn]:
    """Return the keys that are published, the oldest first.

    Args:
        keys: all keys, by number.
        kept_for: how long a key stays published after it was replaced.
    """
    signed = [key for key in keys if key.signs_at(now)]
    retired = [
        Turn(key, "retired", successor.signs_from)
        for key, successor in pairwise(signed)
        if successor.signs_from is not None and now < successor.signs_from + kept_for
    ]
    current = [Turn(key, "current") for key in signed[-1:]]
    return [*retired, *current, *(Turn(key, "next") for key in keys if not key.signs_at(now))]


def current_of(published: Sequence[Turn]) -> StoredKey | None:
    """Return the key that signs."""
    return next((turn.key for turn in published if turn.state == "current"), None)


def scheduled_of(published: Sequence[Turn]) -> StoredKey | None:
    """Return the key whose turn comes at a known moment."""
    return next((turn.key for turn in published if turn.state == "next" and turn.key.signs_from is not None), None)


def waiting_of(published: Sequence[Turn]) -> StoredKey | None:
    """Return the key that waits for a rotation."""
    return next((turn.key for turn in published if turn.state == "next" and turn.key.signs_from is None), None)
