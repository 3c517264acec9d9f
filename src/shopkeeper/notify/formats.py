"""How values are formatted in a language: money, days, names, and any other text from outside."""

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, Final

from babel import Locale
from babel.dates import format_date, format_time

from shopkeeper.money import printed

LONGEST: Final = 200
LONGEST_NAME: Final = 60
LONGEST_LINK: Final = 2048
LINK_SUFFIX: Final = "_url"
"""Ends the names of values that are links: half a link would lead nowhere."""

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


def day(value: date | str, *, locale: str) -> str:
    """Format a day with its month in words. A text is read as ISO 8601."""
    read = datetime.fromisoformat(value) if isinstance(value, str) else value
    return format_date(read, format="long", locale=Locale.parse(locale, sep="-"))


def moment(value: datetime | str, *, locale: str) -> str:
    """Format a day and a time of the day, in UTC, because the customer's time zone is not known.

    >>> moment("2026-03-14T15:09:00+00:00", locale="de")
    '14. März 2026, 15:09 (UTC)'
    """
    read = (datetime.fromisoformat(value) if isinstance(value, str) else value).astimezone(UTC)
    clock = format_time(read, format="short", tzinfo=UTC, locale=Locale.parse(locale, sep="-"))
    return f"{day(read, locale=locale)}, {clock} (UTC)"


def masked(address: str) -> str:
    """Show an address so that its owner recognises it, and nobody else learns it.

    >>> masked("ada@example.org"), masked("a…@example.org")
    ('a…@example.org', 'a…@example.org')
    """
    name, at, domain = address.rpartition("@")
    return f"{name[:1]}…{at}{domain}"


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


def at(value: Any, *path: str) -> Any:
    """Return what is at a path of keys, or an empty text where nothing is, as Go templates do.

    >>> at({"traits": {"name": "Ana"}}, "traits", "name"), at(None, "traits")
    ('Ana', '')
    """
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return "" if value is None else value


def tame(value: Any) -> Any:
    """Make a value from outside safe for a mail: texts become one line without controls, of limited length.

    >>> tame({"name": "Ana\\r\\nBcc: everybody"})
    {'name': 'Ana Bcc: everybody'}
    """
    if isinstance(value, str):
        return _one_line(value, longest=LONGEST)
    if isinstance(value, Mapping):
        return {
            key: _one_line(inner, longest=LONGEST_LINK)
            if isinstance(inner, str) and str(key).endswith(LINK_SUFFIX)
            else tame(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [tame(inner) for inner in value]
    return value


def _one_line(text: str, *, longest: int) -> str:
    spaced = "".join(" " if unicodedata.category(character) in _LINE_BREAKING else character for character in text)
    line = " ".join("".join(character for character in spaced if character not in _TURNING).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
