"""The languages that are offered, and which of them a reader gets."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from shopkeeper.parsing import parse_accept

SOURCE: Final = "en"
"""The language that all texts are written in; the others are translations of it."""
NAMES: Final[Mapping[str, str]] = {SOURCE: "English", "de": "Deutsch", "es": "Español"}
"""What each language calls itself."""
LANGUAGES: Final = tuple(NAMES)
LONGEST_TAG: Final = 16
"""Characters that are stored of a language tag."""
LONGEST_HEADER: Final = 200
"""Characters of `Accept-Language`; browsers send fewer."""
LANGUAGE_PARAMETER: Final = "lang"
"""The query parameter that chooses a language."""


def preferred(accept_language: str) -> str | None:
    """Return the offered language that a reader prefers (RFC 9110 section 12.5.4); None where none is named.

    Of a header that is longer than `LONGEST_HEADER`, the languages that fit in are read.

    >>> preferred("fr, de-AT;q=0.8, en;q=0.5"), preferred("fr")
    ('de', None)
    """
    if len(accept_language) > LONGEST_HEADER:
        accept_language = accept_language[:LONGEST_HEADER].rpartition(",")[0]
    return _preferred(accept_language) if accept_language else None


@lru_cache(1_000)
def _preferred(accept_language: str) -> str | None:
    wished = [(tag, weight) for tag, weight in parse_accept(accept_language) if weight > 0]
    plain = (tag.partition("-")[0].lower() for tag, _ in sorted(wished, key=lambda wish: -wish[1]))
    return next((language for language in plain if language in LANGUAGES), None)


def storable(tag: str | None) -> str | None:
    """Return the tag where it is exactly that of an offered language, else None: nothing else is ever stored.

    >>> storable("de"), storable("de-AT"), storable(None)
    ('de', None, None)
    """
    return tag if tag in LANGUAGES else None


def offered(tag: str) -> str:
    """Return the offered language of a tag, without its region; English where it is not offered."""
    plain = tag.replace("_", "-").partition("-")[0].lower()
    return plain if plain in LANGUAGES else SOURCE
