"""Tokens of mailed links: 256 random bits, stored as a digest, bound to one flow, one account and one address."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from shopkeeper import crypto
from shopkeeper.clock import Clock

LONGEST = 128
"""The most characters of a token that are looked at; a longer one is wrong."""


@dataclass(frozen=True, slots=True)
class SentLink:
    """A link as the flow stores it. `identity_id` is None where no link was sent; no token matches it then."""

    address: str
    digest: str
    expires_at: datetime
    identity_id: UUID | None
    issued_at: datetime | None = None

    def to_context(self) -> dict[str, Any]:
        """Return the value as JSON, for the method's context."""
        return {
            "address": self.address,
            "digest": self.digest,
            "expires_at": self.expires_at.isoformat(),
            "identity_id": str(self.identity_id) if self.identity_id else None,
            "issued_at": self.issued_at.isoformat() if self.issued_at else None,
        }

    @classmethod
    def from_context(cls, stored: Mapping[str, Any]) -> "SentLink":
        """Read the value that `to_context` wrote."""
        identity_id, issued_at = stored["identity_id"], stored.get("issued_at")
        return cls(
            stored["address"],
            stored["digest"],
            datetime.fromisoformat(stored["expires_at"]),
            UUID(identity_id) if identity_id else None,
            datetime.fromisoformat(issued_at) if issued_at else None,
        )


class LinkTokens:
    """Issues and checks the tokens of links.

    Args:
        clock: decides when a link has expired.
        lifespan: how long a link can be used.
    """

    def __init__(self, *, clock: Clock, lifespan: timedelta) -> None:
        self._clock, self._lifespan = clock, lifespan

    def issue(
        self,
        *,
        address: str,
        identity_id: UUID | None,
        until: datetime | None = None,
        exactly: bool = False,
    ) -> tuple[str, SentLink]:
        """Return a new token, and what the flow stores of it. It counts no longer than `until`, and `exactly` that long
        where an operator has said how long."""
        token = crypto.new_token("")
        now = self._clock.now()
        ends = now + self._lifespan
        if until is not None:
            ends = until if exactly else min(ends, until)
        return token, SentLink(address, crypto.digest(token).hex(), ends, identity_id, now)

    def matches(self, sent: SentLink, token: str) -> bool:
        """Return whether this is the token, and the link has not expired."""
        given = token if len(token) <= LONGEST else ""
        same = crypto.same(sent.digest, crypto.digest(given).hex())
        return same and sent.identity_id is not None and self._clock.now() < sent.expires_at
