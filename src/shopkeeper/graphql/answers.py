"""What mutations say after success, and of fields that a shop does not keep: by code, in the reader's language."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from shopkeeper.languages.catalogues import translations


class Answer(StrEnum):
    """The codes of the sentences, which are the contexts of the catalogue `answers`."""

    CART_CREATED = "cart_created"
    CART_ADDED = "cart_added"
    CART_CHANGED = "cart_changed"
    CART_REMOVED = "cart_removed"
    ORDER_DRAFTED = "order_drafted"
    ORDER_PLACED = "order_placed"
    SIGNED_UP = "signed_up"
    FIELD_NOT_KEPT = "field_not_kept"


ENGLISH: Final[Mapping[Answer, str]] = {
    Answer.CART_CREATED: "The cart was begun.",
    Answer.CART_ADDED: "It is in the cart.",
    Answer.CART_CHANGED: "The cart was changed.",
    Answer.CART_REMOVED: "It was taken out of the cart.",
    Answer.ORDER_DRAFTED: "This is what would be ordered.",
    Answer.ORDER_PLACED: "Thank you for your order.",
    Answer.SIGNED_UP: "Welcome. Sign in to go on.",
    Answer.FIELD_NOT_KEPT: "This shop does not keep this; leave it out.",
}


def worded(answer: Answer, language: str) -> str:
    """Return the sentence in a language.

    >>> worded(Answer.ORDER_PLACED, "de")
    'Danke für Ihre Bestellung.'
    """
    return translations(language, "answers").pgettext(answer.value, ENGLISH[answer])
