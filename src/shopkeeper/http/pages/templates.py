"""The templates of the pages (Jinja2, under `web/pages`), one environment for each language."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from babel import Locale
from babel.dates import format_date, format_datetime
from jinja2 import Environment, PackageLoader, StrictUndefined

from shopkeeper.commerce.port import Money
from shopkeeper.http.pages.translations import Translations
from shopkeeper.languages.choice import LANGUAGES
from shopkeeper.notify.formats import money
from shopkeeper.ui.compiled_templates import CompiledTemplates

_COMPILED = CompiledTemplates()


class PageTemplates:
    """Renders pages. All values are escaped.

    `always` holds the values of every page: the shop's name, the address of static files, and so on.
    """

    def __init__(self, *, always: Mapping[str, Any], languages: Sequence[str] = LANGUAGES) -> None:
        self._environments = {language: _environment(Translations(language), always) for language in languages}

    def render(self, name: str, context: Mapping[str, Any], *, language: str) -> str:
        """Render one page. A name that the template needs and the context lacks is an error, never an empty text."""
        return self._environments[language].get_template(f"{name}.html.j2").render(context)


def _environment(translations: Translations, always: Mapping[str, Any]) -> Environment:
    environment = Environment(
        loader=PackageLoader("shopkeeper", "web/pages"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        extensions=["jinja2.ext.i18n"],
        bytecode_cache=_COMPILED,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_translations(translations.translations, newstyle=True)  # type: ignore[attr-defined]
    locale = Locale.parse(translations.language)
    environment.globals |= {**always, "language": translations.language}
    environment.filters |= {
        "words": translations.message,
        "refusal": lambda problem: translations.refusal(problem.wording, problem.sentence),
        "day": partial(_day, locale=locale),
        "when": partial(_when, locale=locale),
        "money": partial(_money, language=translations.language),
    }
    return environment


def _day(at: datetime, *, locale: Locale) -> str:
    return format_date(at.astimezone(UTC), format="long", locale=locale)


def _when(at: datetime, *, locale: Locale) -> str:
    """Format day and time in UTC, and say so: without scripts the reader's time zone is unknown."""
    day = "d." if locale.language == "de" else "d"
    return format_datetime(at.astimezone(UTC), format=f"{day} MMM y, HH:mm 'UTC'", locale=locale)


def _money(value: Money, *, language: str) -> str:
    return money({"amount": value.amount, "currency": value.currency}, locale=language)
