"""Tokens of the links that end a session: its id, the end of the link, and an HMAC of both, so that nothing is stored.

A token ends one session and gives access to nothing. It works once, because a session ends once.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from shopkeeper.clock import Clock
from shopkeeper.crypto import derive, same

PREFIX: Final = "sk_end_"
_ID_BYTES: Final = 16
_TIME_BYTES: Final = 8
_PROOF_BYTES: Final = 24
"""With the id and the time a multiple of three, so that base64 spells each token in one way."""
LENGTH: Final = len(PREFIX) + (_ID_BYTES + _TIME_BYTES + _PROOF_BYTES) // 3 * 4


class EndLinks:
    """Issues and verifies tokens. The first secret issues; all are accepted."""

    def __init__(self, secrets: Sequence[str], *, clock: Clock) -> None:
        if not secrets:
            raise ValueError("no secret configured for links that end a session")
        self._keys = [derive(secret, purpose="signin/end") for secret in secrets]
        self._clock = clock

    def issue(self, session_id: UUID, *, until: datetime) -> str:
        """Return the token of a link for a session; it can be used until a moment, to the second."""
        told = session_id.bytes + int(until.timestamp()).to_bytes(_TIME_BYTES)
        return _token(self._keys[0], told)

    def session_of(self, token: str) -> UUID | None:
        """Return the session of a token; None for one that was not issued here, and after its end."""
        told = _told(token)
        if told is None or not any(same(_token(key, told), token) for key in self._keys):
            return None
        until = datetime.fromtimestamp(int.from_bytes(told[_ID_BYTES:]), UTC)
        return UUID(bytes=told[:_ID_BYTES]) if self._clock.now() < until else None


def _told(token: str) -> bytes | None:
    """Return what a token says, before it is verified."""
    if len(token) != LENGTH or not token.startswith(PREFIX):
        return None
    try:
        raw = base64.b64decode(token.removeprefix(PREFIX), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw[: _ID_BYTES + _TIME_BYTES]


def _token(key: bytes, told: bytes) -> str:
    proof = hmac.new(key, told, hashlib.sha256).digest()[:_PROOF_BYTES]
    return PREFIX + base64.urlsafe_b64encode(told + proof).decode()
