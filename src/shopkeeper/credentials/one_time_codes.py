"""One-time codes that are sent to an address (out-of-band codes, OWASP ASVS 5.0 sections 6.5 and 6.6).

A code has six random digits, about as many as people copy without mistakes. Its safety comes from limits: it counts for
one flow and one address, for a limited time and number of attempts, and a new one replaces it. The flow stores an HMAC
of it, never the code, and the key is not in the database. The mail with the code is stored sealed until it is sent, and
its text is deleted then (`notify/secret_mails.py`); in development it is stored as it is.
"""

import hmac
import math
import secrets
import string
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from shopkeeper import crypto
from shopkeeper.clock import Clock
from shopkeeper.identity.values import Via

DIGITS: Final = 6
LONGEST_TYPED: Final = 64
"""The most characters of a submitted code that are compared; a longer one is wrong."""


@dataclass(frozen=True, slots=True)
class SentCode:
    """A code as the flow stores it: where it went, for which identity, when it expires, and its HMAC.

    `identity_id` is None where the code is bound to no account: in a registration, and for an unknown account.
    """

    via: Via
    address: str
    digest: str
    expires_at: datetime
    identity_id: UUID | None = None
    issued_at: datetime | None = None

    def to_context(self) -> dict[str, Any]:
        """Return the value as JSON, for the method's context."""
        return {
            "via": self.via.value,
            "address": self.address,
            "digest": self.digest,
            "expires_at": self.expires_at.isoformat(),
            "identity_id": str(self.identity_id) if self.identity_id else None,
            "issued_at": self.issued_at.isoformat() if self.issued_at else None,
        }

    @classmethod
    def from_context(cls, stored: Mapping[str, Any]) -> "SentCode":
        """Read the value that `to_context` wrote."""
        identity_id, issued_at = stored["identity_id"], stored.get("issued_at")
        return cls(
            via=Via(stored["via"]),
            address=stored["address"],
            digest=stored["digest"],
            expires_at=datetime.fromisoformat(stored["expires_at"]),
            identity_id=UUID(identity_id) if identity_id else None,
            issued_at=datetime.fromisoformat(issued_at) if issued_at else None,
        )


@dataclass(frozen=True, slots=True)
class IssuedCode:
    """A new code: the digits, which go into a mail and nowhere else, and what the flow stores."""

    code: str
    sent: SentCode


class OneTimeCodes:
    """Issues and checks one-time codes.

    Args:
        key: keys the HMACs; at least 16 bytes, derived for this purpose.
        clock: decides when a code has expired.
        lifespan: how long a code counts.

    >>> from datetime import UTC
    >>> from shopkeeper.clock import StoppedClock
    >>> clock = StoppedClock(datetime(2026, 3, 14, tzinfo=UTC))
    >>> codes = OneTimeCodes(key=b"k" * 32, clock=clock, lifespan=timedelta(hours=1))
    >>> issued = codes.issue(via=Via.EMAIL, address="ada@example.org")
    >>> codes.matches(issued.sent, issued.code), codes.matches(issued.sent, "no code")
    (True, False)
    """

    def __init__(self, *, key: bytes, clock: Clock, lifespan: timedelta) -> None:
        if len(key) < 16:
            raise ValueError("one-time codes need a key of 16 bytes at least")
        self._key, self._clock, self._lifespan = key, clock, lifespan

    def minutes_left(self, sent: SentCode) -> int:
        """How long a code counts from now, in minutes and at least one, for mails.

        Rounded up: the mail is made a moment after the code, and ten minutes must not read as nine.
        """
        return max(1, math.ceil((sent.expires_at - self._clock.now()).total_seconds() / 60))

    def issue(
        self, *, via: Via, address: str, identity_id: UUID | None = None, until: datetime | None = None
    ) -> IssuedCode:
        """Issue a code for an address. It counts for the lifespan of codes, and no longer than `until`."""
        code = f"{secrets.randbelow(10**DIGITS):0{DIGITS}d}"
        sent = self._sent(code, via=via, address=address, identity_id=identity_id)
        return IssuedCode(code, sent if until is None else replace(sent, expires_at=min(sent.expires_at, until)))

    def issue_unusable(self, *, via: Via, address: str) -> IssuedCode:
        """Issue a code that no digits match, with the work of `issue`: for an address that no code is sent to."""
        nothing = secrets.token_hex(LONGEST_TYPED)
        return IssuedCode("0" * DIGITS, self._sent(nothing, via=via, address=address, identity_id=None))

    def matches(self, sent: SentCode, typed: str) -> bool:
        """Return whether the text is this code, and the code has not expired.

        Only digits count, of any width: spaces, hyphens, full stops and invisible characters come along where a code
        is copied from a mail.
        """
        plain = unicodedata.normalize("NFKC", typed) if len(typed) <= LONGEST_TYPED else ""
        code = "".join(character for character in plain if character in string.digits)
        same = crypto.same(sent.digest, self._digest(code, via=sent.via, address=sent.address))
        return same and self._clock.now() < sent.expires_at

    def _sent(self, code: str, *, via: Via, address: str, identity_id: UUID | None) -> SentCode:
        digest = self._digest(code, via=via, address=address)
        now = self._clock.now()
        return SentCode(via, address, digest, now + self._lifespan, identity_id, now)

    def _digest(self, code: str, *, via: Via, address: str) -> str:
        text = "\0".join(f"{len(part)}:{part}" for part in (via.value, address, code))
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256").hex()
