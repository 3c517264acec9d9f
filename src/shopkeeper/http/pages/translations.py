"""The translations of the pages: which language a visitor reads, and the catalogues `web/locale/<language>/…/pages.po`.

Templates and the numbered messages of forms are written in English; a catalogue translates them. It is read when the
server starts: there is no compiled copy that could be out of date.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from gettext import GNUTranslations, NullTranslations
from importlib.resources import files
from io import BytesIO
from typing import Any, Final

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from shopkeeper.http.pages import refusals
from shopkeeper.parsing import parse_accept
from shopkeeper.ui.messages import CATALOGUE, Message

SOURCE: Final = "en"
# The label of a field is its title in the schema. The catalogues translate the titles of our own schema.
_TITLE: Final = 1070002
# A reason that has no number of its own, for example a refusal above the form.
_REASON: Final = 4000001
# The name of a field in a message's context.
_PROPERTY: Final = "property"


def choose_language(accept_language: str, offered: Sequence[str]) -> str:
    """Return the offered language that a browser prefers (RFC 9110 section 12.5.4), or the first.

    >>> choose_language("fr, de-AT;q=0.8, en;q=0.5", ["en", "de"])
    'de'
    """
    wished = [(tag, weight) for tag, weight in parse_accept(accept_language) if weight > 0]
    for tag, _ in sorted(wished, key=lambda wish: -wish[1]):
        plain = tag.partition("-")[0]
        if plain in offered:
            return plain
    return offered[0]


class Translations:
    """All texts of the pages, in one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.translations = _read(language)

    def message(self, message: Message, field: Message | None = None) -> str:
        """Return the text of a numbered message, in English if it has no translation.

        Args:
            field: the label of the message's field; it replaces the name of the property, which readers do not know.
        """
        if message.id == _TITLE:
            return self.translations.gettext(message.text) if message.text else ""
        if message.id == _REASON and (code := refusals.code_in(message.text)):
            return self.refusal(code, message.text)
        sentence = CATALOGUE[message.id][1] if message.id in CATALOGUE else message.text
        translated = self.translations.gettext(sentence)
        label = self.message(field) if field else ""
        if label and message.id in CATALOGUE and _PROPERTY in message.context:
            return translated.format_map(_Printable({**message.context, _PROPERTY: label}))
        return message.text if translated == sentence else translated.format_map(_Printable(message.context))

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


class _Printable(dict[str, Any]):
    """A context that leaves a placeholder without a value as it is."""

    def __init__(self, context: Mapping[str, Any]) -> None:
        super().__init__(context)

    def __missing__(self, key: str) -> str:
        return f"{{{key}}}"


@cache
def _read(language: str) -> NullTranslations:
    if language == SOURCE:
        return NullTranslations()
    source = files("shopkeeper") / "web" / "locale" / language / "LC_MESSAGES" / "pages.po"
    if not source.is_file():
        raise ValueError(f"there are no pages in {language!r}: their catalogue pages.po is missing")
    compiled = BytesIO()
    with source.open("rb") as catalogue:
        write_mo(compiled, read_po(catalogue, locale=language))
    compiled.seek(0)
    return GNUTranslations(compiled)
