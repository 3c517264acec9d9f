"""How values are formatted in a language: money, days, names, and any other text from outside."""

import re
import unicodedata
from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from babel import Locale
from babel.dates import format_date

from shopkeeper.money import printed

LONGEST: Final = 200
LONGEST_NAME: Final = 60

# Controls, line and paragraph separators, lone surrogates, and the marks that change the direction of text.
_LINE_BREAKING: Final = frozenset({"Cc", "Zl", "Zp", "Cs"})
_TURNING: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# What mail programs turn into a link, even in plain text.
_LINK: Final = re.compile(r"://|www\.|@|[\w-]\.[^\W\d_]{2,}")


def money(value: Mapping[str, Any], *, locale: str) -> str:
    """Format an amount in minor units.

    >>> money({"amount": 199, "currency": "EUR"}, locale="en")
    '€1.99'
    """
    return printed(value["amount"], value["currency"], locale=Locale.parse(locale, sep="-"))


def day(value: date, *, locale: str) -> str:
    """Format a day with its month in words."""
    return format_date(value, format="long", locale=Locale.parse(locale, sep="-"))


def person(name: str | None) -> str:
    """Return a name for a greeting; empty where it is too long, or contains something that a mail program would link.

    A stranger can sign up with another person's address; without this check, the "name" could be an advertisement in
    our mail.

    >>> person("Ana"), person("Win at evil.example")
    ('Ana', '')
    """
    if not name or len(name) > LONGEST_NAME or _LINK.search(name):
        return ""
    return name


def tame(value: Any) -> Any:
    """Make a value from outside safe for a mail: texts become one line without controls, of limited length.

    >>> tame({"name": "Ana\\r\\nBcc: everybody"})
    {'name': 'Ana Bcc: everybody'}
    """
    if isinstance(value, str):
        return _one_line(value)
    if isinstance(value, Mapping):
        return {key: tame(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [tame(inner) for inner in value]
    return value


def _one_line(text: str) -> str:
    spaced = "".join(" " if unicodedata.category(character) in _LINE_BREAKING else character for character in text)
    line = " ".join("".join(character for character in spaced if character not in _TURNING).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
