"""The tokens of logout links, derived from the session and a secret, so that nothing is stored for them.

A link ends only the session that it was issued for, even after its token was replaced, and does nothing else. So
another site cannot sign a customer out, and a leaked link gives no access.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from uuid import UUID

from shopkeeper.crypto import derive, same

PREFIX = "shk_lo_"


class LogoutTokens:
    """Issues and verifies logout tokens. The first secret issues; all are accepted."""

    def __init__(self, secrets_: Sequence[str]) -> None:
        if not secrets_:
            raise ValueError("no secret configured for logout links")
        self._keys = [derive(secret, purpose="sessions/logout") for secret in secrets_]

    def issue(self, session_id: UUID) -> str:
        """Return the token of a session's logout link."""
        return _token(self._keys[0], session_id)

    def verify(self, session_id: UUID, token: str) -> bool:
        """Whether a token was issued for this session."""
        return any(same(_token(key, session_id), token) for key in self._keys)


def _token(key: bytes, session_id: UUID) -> str:
    proof = hmac.new(key, session_id.bytes, hashlib.sha256).digest()
    return PREFIX + base64.urlsafe_b64encode(proof).rstrip(b"=").decode()
