"""Composes a mail (RFC 5322) from a message: the headers that we write, and the operator's further ones."""

import re
from collections.abc import Mapping
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Final

from shopkeeper.notify.further_headers import refuse_wrong_headers
from shopkeeper.notify.mail_lines import POLICY
from shopkeeper.notify.values import CourierMessage

# Less strict than for recipients, because `no-reply@localhost` is a valid sender.
_SENDER: Final = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", re.ASCII)


class MailComposer:
    """Composes mails of one sender.

    Args:
        from_address, from_name: the sender.
        headers: further headers for every mail; those that we write ourselves are refused.

    Raises `ValueError` where one of these is not usable.
    """

    def __init__(
        self, *, from_address: str, from_name: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.sender = _sender(from_address, name=from_name)
        self._headers = _further_headers(headers or {})

    def compose(self, message: CourierMessage, *, recipient: str) -> EmailMessage:
        """Return a message as a mail to a recipient, whose address is as mail servers read it."""
        mail = EmailMessage(policy=POLICY)
        for name, value in self._headers.items():
            mail[name] = value
        mail["From"] = self.sender
        mail["To"] = _mailbox(recipient)
        mail["Subject"] = message.subject
        mail["Date"] = message.created_at
        # The same at every attempt, so that a receiver can tell a repetition from a second mail.
        mail["Message-ID"] = f"<{message.id}@{self.sender.domain}>"
        # Suppresses automatic replies (RFC 3834).
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.body)
        mail.add_alternative(message.html, subtype="html")
        mail["Content-Language"] = message.locale
        return mail


def _sender(address: str, *, name: str | None) -> Address:
    if not _SENDER.fullmatch(address):
        raise ValueError("courier.smtp.from_address must be one address like no-reply@shop.example, in ASCII")
    return Address(display_name=name or "", addr_spec=address)


def _mailbox(address: str) -> Address:
    # In two parts, because `addr_spec` refuses names outside ASCII, which RFC 6532 allows.
    name, _, domain = address.rpartition("@")
    return Address(username=name, domain=domain)


def _further_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    try:
        refuse_wrong_headers(headers)
    except ValueError as wrong:
        raise ValueError(f"courier.smtp.headers {wrong}") from None
    return dict(headers)
