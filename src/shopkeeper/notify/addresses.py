"""Recipient addresses: exactly one mailbox, in the plain form of RFC 5321.

Two mailboxes in one text (`a@x,b@y`), quoted local parts, encoded words (RFC 2047), display names and line breaks can
send one person's mail to another; all of them are refused.
"""

from email_validator import EmailNotValidError, ValidatedEmail, validate_email

from shopkeeper.errors import InvalidInput

ENCODED_WORD = "=?"


class AddressRefused(InvalidInput):
    """A recipient that is not exactly one mailbox. The sentence never repeats the address."""

    code = "address_refused"
    message = "This is not an e-mail address that mail can be sent to; write it like name@example.com."


def require_address(text: str) -> str:
    """Return the one mailbox that a text names, with its domain in lower case. Raises `AddressRefused`.

    >>> require_address("Ana@Example.COM")
    'Ana@example.com'
    """
    return _read(text).normalized


def mailbox_of(address: str) -> str:
    """Return the mailbox that an address delivers to at most providers: in lower case, without a tag (RFC 5233).

    For budgets only: two people may have the two addresses somewhere.

    >>> mailbox_of("Ada+shop@Example.org"), mailbox_of("+ada@example.org")
    ('ada@example.org', '+ada@example.org')
    """
    name, _, domain = address.lower().rpartition("@")
    return f"{name.partition('+')[0] or name}@{domain}"


def on_the_wire(address: str) -> str:
    """Return an address as mail servers read it: an international domain in its ASCII form (RFC 5891), where that
    suffices."""
    found = _read(address)
    return found.ascii_email or found.normalized


def _read(text: str) -> ValidatedEmail:
    if ENCODED_WORD in text:
        raise AddressRefused
    try:
        # A shop in a company's own network may have host names without dots, and a test installation names under
        # `.test`.
        return validate_email(
            text,
            check_deliverability=False,
            globally_deliverable=False,
            test_environment=True,
            allow_quoted_local=False,
            allow_domain_literal=False,
            allow_display_name=False,
        )
    except EmailNotValidError as broken:
        raise AddressRefused from broken
