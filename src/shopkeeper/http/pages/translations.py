"""The texts of the pages, in one language: templates in English, numbered messages of forms, and refusals."""

from shopkeeper.errors import Wording
from shopkeeper.http.pages import refusals
from shopkeeper.languages.catalogues import translations
from shopkeeper.languages.choice import SOURCE
from shopkeeper.languages.refusals import sentence_of
from shopkeeper.ui.messages import REASON, WORDING, Message
from shopkeeper.ui.translated import text_of


class Translations:
    """All texts of the pages, in one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.translations = translations(language, "pages")

    def message(self, message: Message, field: Message | None = None) -> str:
        """Return the text of a numbered message, in English if it has no translation.

        Args:
            field: the label of the message's field; it replaces the name of the property, which readers do not know.
        """
        worded = message.context.get(WORDING)
        if message.id == REASON and worded:
            return self.refusal(Wording.from_wire(worded), message.text)
        return text_of(message, self.language, label=field)

    def refusal(self, wording: Wording | None, sentence: str) -> str:
        """Return what a page says about a refusal: by its wording, or its own sentence where there is none."""
        if wording is None:
            return sentence
        told = refusals.in_english(wording) if self.language == SOURCE else sentence_of(wording, self.language)
        return told or sentence
