"""What mails say, as it waits to be sent: the values for their templates, as JSON.

Mails that hold one-time codes, or links that act for an account, are sealed with AES-256-GCM under `secrets.cipher`,
bound to the message's id, so that a copy of the database reveals no code.
"""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

from shopkeeper.crypto import KeyRing, Unsealable

PURPOSE: Final = "mails"
"""The purpose of the key ring, for key derivation."""
READABLE: Final = frozenset(
    {
        "recovery_invalid",
        "recovery_code_invalid",
        "verification_invalid",
        "verification_code_invalid",
        "welcome",
        "sign_up_attempt",
        "address_wanted",
        "order_placed",
        "password_changed",
        "sign_in_linked",
        "support_access",
    }
)
"""The templates that show neither a code nor a link that acts for the account. Every other mail is sealed, so that a
new one is by default."""
SEALED: Final = "sealed:"
"""The beginning of sealed values. Those that were queued in development have none."""
MAX_BYTES: Final = 64 * 1024
FROM_CLIENTS: Final = ("transient_payload", "request_url", "identity", "traits")
"""Values that a client can make large. They are left out of a mail that would be larger than `MAX_BYTES`."""


class SecretMails:
    """Seals the values of mails with codes, and opens them for the channel.

    Args:
        keys: the first one seals, all of them open.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def concerns(self, template: str) -> bool:
        """Return whether mails of the template hold codes."""
        return template not in READABLE

    def seal(self, context: str, *, template: str, message_id: UUID) -> str:
        """Return the values as they are stored: sealed if they hold a code, unchanged otherwise."""
        if not self.concerns(template):
            return context
        return f"{SEALED}{self._keys.seal_text(context.encode(), context=message_id.bytes)}"

    def open(self, context: str, *, message_id: UUID) -> str:
        """Return the values as they were. Raises `Unsealable` where no configured secret opens them."""
        if not context.startswith(SEALED):
            return context
        return self._keys.open_text(context.removeprefix(SEALED), context=message_id.bytes).decode()


def opened(context: str, secret: SecretMails | None, *, message_id: UUID) -> str:
    """Return the values of a mail as they were, also where development (no `secret`) finds those of another run.

    Raises `Unsealable`.
    """
    if secret is not None:
        return secret.open(context, message_id=message_id)
    if context.startswith(SEALED):
        raise Unsealable("the values are sealed, and development opens none")
    return context


def written(context: Mapping[str, Any]) -> str:
    """Write the values of a mail as JSON, within `MAX_BYTES`. Raises `ValueError` where that is not possible."""
    text = msgspec.json.encode(context)
    if len(text) > MAX_BYTES:
        text = msgspec.json.encode({name: None if name in FROM_CLIENTS else value for name, value in context.items()})
    if len(text) > MAX_BYTES:
        raise ValueError(f"the values of a mail are larger than {MAX_BYTES} bytes")
    return text.decode()


def read(context: str) -> dict[str, Any]:
    """Read what `written` wrote."""
    return msgspec.json.decode(context, type=dict[str, Any])
