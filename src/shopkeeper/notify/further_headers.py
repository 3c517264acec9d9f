"""Further headers of mails, which an operator sets: which of them may stand in a mail."""

from collections.abc import Mapping
from typing import Final

from shopkeeper.notify.mail_lines import fits

OURS: Final = frozenset(
    {"from", "to", "cc", "bcc", "sender", "subject", "date", "message-id", "mime-version", "auto-submitted"}
)
_LONGEST_SHOWN: Final = 60


def refuse_wrong_headers(headers: Mapping[str, str]) -> None:
    """Raise `ValueError` for headers that cannot be sent: one sentence that names each, and repeats no value."""
    faults = [
        f"the header {_shown(name)}, {fault}" for name, value in headers.items() if (fault := _fault(name, value))
    ]
    if faults:
        raise ValueError(f"has {'; and '.join(faults)}")


def _fault(name: str, value: str) -> str | None:
    if name.lower() in OURS or name.lower().startswith("content-"):
        return "which Shopkeeper writes itself: take it out"
    if not name.isascii() or not name.replace("-", "").isalnum():
        return "whose name must have only letters, digits and hyphens"
    if not value.isprintable():
        return "whose value has a line break or a control character: take it out"
    return None if fits(name, value) else "which has a word that is too long for a line of a mail: shorten it"


def _shown(name: str) -> str:
    return name[:_LONGEST_SHOWN] if name.isascii() and name.isprintable() else ascii(name[:_LONGEST_SHOWN])
