"""Mails that hold one-time codes: sealed while they wait to be sent, so that a copy of the database reveals no code.

Subject and bodies are sealed together, with AES-256-GCM under `secrets.cipher`, bound to the message's id. The sealed
text is stored in place of the body.
"""

from dataclasses import replace
from typing import Final
from uuid import UUID

import msgspec

from shopkeeper.crypto import KeyRing, Unsealable
from shopkeeper.notify.channels import ChannelFailed
from shopkeeper.notify.values import CourierMessage, Mail

PURPOSE: Final = "mails"
"""The purpose of the key ring, for key derivation."""
TEMPLATES: Final = frozenset(
    {
        "recovery_valid",
        "recovery_code_valid",
        "verification_valid",
        "verification_code_valid",
        "login_code_valid",
        "registration_code_valid",
        "address_changed",
        "new_device",
    }
)
"""The templates that show a code, or a link that acts for the account."""
SEALED: Final = "sealed:"
"""The beginning of a sealed body. A mail that was queued by an earlier version, or in development, has none."""


class SecretMails:
    """Seals mails with codes and opens them for the channel.

    Args:
        keys: the first one seals, all of them open.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def concerns(self, template: str) -> bool:
        """Return whether mails of the template hold codes."""
        return template in TEMPLATES

    def seal(self, mail: Mail, *, template: str, message_id: UUID) -> Mail:
        """Return the mail as it is stored: sealed if it holds a code, unchanged otherwise."""
        if not self.concerns(template):
            return mail
        text = self._keys.seal_text(msgspec.json.encode(mail), context=message_id.bytes)
        return Mail(subject="", text=f"{SEALED}{text}", html="")

    def open(self, message: CourierMessage) -> CourierMessage:
        """Return the message as it is sent. Raises `ChannelFailed` where no configured secret opens it."""
        if not self.concerns(message.template_type) or not message.body.startswith(SEALED):
            return message
        try:
            plain = self._keys.open_text(message.body.removeprefix(SEALED), context=message.id.bytes)
        except Unsealable as unsealable:
            raise ChannelFailed("the mail was sealed with a secret that is gone", permanent=True) from unsealable
        mail = msgspec.json.decode(plain, type=Mail)
        return replace(message, subject=mail.subject, body=mail.text, html=mail.html)
