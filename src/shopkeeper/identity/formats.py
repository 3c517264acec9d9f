"""The formats that Kratos adds to JSON Schema or that we check more strictly: `email`, `tel`, `no-validate`.

All others are the validator's own.
"""

from collections.abc import Callable, Mapping

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from shopkeeper.identity.normalise import LONGEST

ENCODED_WORD = "=?"
"""The beginning of an encoded word, which mail programs decode (RFC 2047): the local part could hide another address.
"""

UNCHECKED_EMAIL = "x-unchecked-email"
"""What `no-validate` becomes where mail is sent to the value: not checked, but limited to one recipient on one line."""


def is_email(value: str) -> bool:
    """Whether a text is one plain address: no display name, no quotes, no second `@`, no comma, no line break."""
    if len(value) > LONGEST or ENCODED_WORD in value:
        return False
    try:
        validate_email(value, check_deliverability=False, globally_deliverable=False, test_environment=True)
    except EmailNotValidError:
        return False
    return True


def is_phone(value: str) -> bool:
    """Whether a text is a telephone number with its country code."""
    if len(value) > LONGEST:
        return False
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(value, None))
    except phonenumbers.NumberParseException:
        return False


def is_one_recipient(value: str) -> bool:
    """Whether mail to a text can have only one recipient, even where the text is not an address."""
    return value.count("@") <= 1 and value.isprintable() and not any(mark in value for mark in ",;<>")


FORMATS: Mapping[str, Callable[[str], bool]] = {
    "email": is_email,
    "tel": is_phone,
    "no-validate": lambda _value: True,
    UNCHECKED_EMAIL: is_one_recipient,
}
