"""The mails of a shop, read from its database; the inbox page shows the same."""

from typing import Any

from tests.services.server import wait_until
from tests.stories.places import Ledger


def mails_to(ledger: Ledger, address: str) -> list[dict[str, Any]]:
    """Return every mail to an address, oldest first."""
    rows = ledger.rows(
        "SELECT template_type, status, send_count, subject FROM courier_messages"
        f" WHERE recipient = '{address}' ORDER BY created_at"
    )
    return [dict(zip(("template", "status", "sends", "subject"), row, strict=True)) for row in rows]


def wait_for_mails(ledger: Ledger, *, to: str, wanted: int) -> list[dict[str, Any]]:
    """Wait until so many mails to an address have been sent; return them."""
    wait_until(
        lambda: sum(mail["status"] == "sent" for mail in mails_to(ledger, to)) >= wanted, f"{wanted} mails to {to}"
    )
    return mails_to(ledger, to)
