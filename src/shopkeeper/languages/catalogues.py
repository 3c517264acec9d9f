"""The catalogues of translations: `web/locale/<language>/LC_MESSAGES/<domain>.po` (gettext).

They are compiled when they are first read, so no compiled copy can be forgotten or outdated. `mail` and `pages` are
looked up by the sentence of a template; `messages`, `errors` and `answers` by number or code, which is the context of
an entry.
"""

from functools import cache
from gettext import GNUTranslations, NullTranslations
from importlib.resources import files
from io import BytesIO
from typing import Literal

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from shopkeeper.languages.choice import SOURCE

Domain = Literal["answers", "errors", "mail", "messages", "pages"]


@cache
def translations(language: str, domain: Domain) -> NullTranslations:
    """Return the translations of a domain; those of English return what they are given. Raises `ValueError` where the
    language has no such catalogue."""
    if language == SOURCE:
        return NullTranslations()
    compiled = BytesIO()
    write_mo(compiled, read_catalogue(language, domain))
    compiled.seek(0)
    return GNUTranslations(compiled)


def read_catalogue(language: str, domain: Domain) -> Catalog:
    """Read a catalogue. Raises `ValueError` where the language has none."""
    source = files("shopkeeper") / "web" / "locale" / language / "LC_MESSAGES" / f"{domain}.po"
    if not source.is_file():
        raise ValueError(f"there is no catalogue {domain}.po in {language!r}")
    with source.open("rb") as catalogue:
        return read_po(catalogue, locale=language)
