"""Text comparison in the embedded shop: without case and accents, with the same results on SQLite and PostgreSQL.

The databases fold text differently, so we fold it in Python, when loading and when searching, and compare plainly.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, bindparam, case

from shopkeeper.commerce.embedded.store import products
from shopkeeper.errors import InvalidInput

MAX_TEXT = 200
MAX_WORDS = 8
_ESCAPE = "/"
_ESCAPED = str.maketrans({sign: _ESCAPE + sign for sign in f"{_ESCAPE}%_"})


def fold(text: str) -> str:
    """Return the text in lower case, without accents, with single spaces, and without characters that cannot be stored.

    >>> fold("  Crème\\n BRÛLÉE ")
    'creme brulee'
    """
    apart = unicodedata.normalize("NFKD", text)
    kept = "".join(letter for letter in apart if not unicodedata.combining(letter))
    return " ".join(_printable(kept.casefold()).split())


@dataclass(frozen=True, slots=True)
class Phrase:
    """A search text, folded."""

    text: str
    words: tuple[str, ...]

    @property
    def bound(self) -> Mapping[str, str]:
        """The patterns that `matches` and `rank` compare with."""
        words = {f"word_{place}": f"%{_escaped(word)}%" for place, word in enumerate(self.words)}
        return {"beginning": f"{_escaped(self.text)}%", **words} if words else {}


def phrase_of(text: str | None) -> Phrase:
    """Fold a search text. Raises `InvalidInput` where it has more than `MAX_TEXT` characters."""
    if text is not None and len(text) > MAX_TEXT:
        raise InvalidInput(
            f"A search text has at most {MAX_TEXT} characters.", topic="search_text", parameters={"limit": MAX_TEXT}
        )
    folded = fold(text or "")
    return Phrase(folded, tuple(folded.split()[:MAX_WORDS]))


def document(parts: Iterable[str]) -> str:
    """Return the folded text by which a product is searched."""
    return fold(" ".join(parts))


def matches(words: int) -> ColumnElement[bool]:
    """Return a condition that every word is somewhere in the product's text."""
    return _every_word(products.c.search_text, words)


def rank(words: int) -> ColumnElement[int]:
    """Return an order: products whose name begins with the text, those with all words in the name, then the rest."""
    return case(
        (products.c.search_name.like(bindparam("beginning"), escape=_ESCAPE), 0),
        (_every_word(products.c.search_name, words), 1),
        else_=2,
    )


def _every_word(column: ColumnElement[str], words: int) -> ColumnElement[bool]:
    return and_(*(column.like(bindparam(f"word_{place}"), escape=_ESCAPE) for place in range(words)))


def _escaped(text: str) -> str:
    return text.translate(_ESCAPED)


def _printable(text: str) -> str:
    """Replace control characters and lone surrogates by spaces: PostgreSQL stores no NUL, and UTF-8 has no
    surrogates."""
    return "".join(" " if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in text)
