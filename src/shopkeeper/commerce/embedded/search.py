"""How words are compared in the embedded shop: without case and accents, the same on SQLite and PostgreSQL.

Neither database folds like the other, so we fold in Python, at loading and at asking, and compare plainly.
"""

import unicodedata
from collections.abc import Iterable

from sqlalchemy import ColumnElement, and_, case

from shopkeeper.commerce.embedded.store import products
from shopkeeper.errors import InvalidInput

MAX_TEXT = 200
MAX_WORDS = 8


def fold(text: str) -> str:
    """Lower case, no accents, single spaces, nothing that cannot be stored.

    >>> fold("  Crème\\n BRÛLÉE ")
    'creme brulee'
    """
    apart = unicodedata.normalize("NFKD", text)
    kept = "".join(letter for letter in apart if not unicodedata.combining(letter))
    return " ".join(_printable(kept.casefold()).split())


def document(parts: Iterable[str]) -> str:
    """What a product is searched by: its words, folded."""
    return fold(" ".join(parts))


def phrase_of(text: str | None) -> str:
    """What was asked for, folded. Raises `InvalidInput` where nobody would type so much."""
    if text is not None and len(text) > MAX_TEXT:
        raise InvalidInput(f"A search text has at most {MAX_TEXT} characters.")
    return fold(text or "")


def matches(phrase: str) -> ColumnElement[bool]:
    """Every word is somewhere in the product."""
    return _every_word(products.c.search_text, phrase)


def rank(phrase: str) -> ColumnElement[int]:
    """Products whose name begins so first, then those with all words in the name, then the rest."""
    return case(
        (products.c.search_name.startswith(phrase, autoescape=True), 0),
        (_every_word(products.c.search_name, phrase), 1),
        else_=2,
    )


def _every_word(column: ColumnElement[str], phrase: str) -> ColumnElement[bool]:
    return and_(*(column.contains(word, autoescape=True) for word in phrase.split()[:MAX_WORDS]))


def _printable(text: str) -> str:
    """Control characters and halves of surrogate pairs become spaces: PostgreSQL stores no NUL, nobody a surrogate."""
    return "".join(" " if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in text)
