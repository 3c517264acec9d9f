"""The texts of the pages, in one language: templates in English, numbered messages of forms, and refusals."""

from shopkeeper.http.pages import refusals
from shopkeeper.languages.catalogues import translations
from shopkeeper.ui.messages import Message
from shopkeeper.ui.translated import text_of

# A reason that has no number of its own, for example a refusal above the form.
_REASON = 4000001


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
        if message.id == _REASON and (code := refusals.code_in(message.text)):
            return self.refusal(code, message.text)
        return text_of(message, self.language, label=field)

    def refusal(self, code: str, sentence: str) -> str:
        """Return what a page says about a refusal: the text of its code, or its own sentence where it has none."""
        text = refusals.SENTENCES.get(code)
        if text is None:
            return sentence
        if "{wait}" not in text:
            return self.translations.gettext(text)
        wait = refusals.wait_in(sentence)
        if wait is None:
            return self.translations.gettext(refusals.SOON)
        unit, count = wait
        return self.translations.gettext(text).format(wait=self.translations.gettext(unit).format(count=count))
