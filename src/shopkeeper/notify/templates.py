"""The texts of our mails: Jinja2 templates in English under `web/mail`, translated by gettext catalogues.

One template serves every language, so that a change of the layout is made once and a sentence is the same in the plain
text and in the HTML. The catalogues (`web/locale/<language>/LC_MESSAGES/mail.po`) are compiled when the server starts,
so no compiled copy can be forgotten or outdated.

A new mail is three files (`<name>.subject.j2`, `.txt.j2`, `.html.j2`), its name in `TEMPLATES`, and its translations.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined, select_autoescape
from jinja2.sandbox import ImmutableSandboxedEnvironment

from shopkeeper.languages.catalogues import translations
from shopkeeper.languages.choice import LANGUAGES, SOURCE
from shopkeeper.notify.formats import at, day, masked, moment, money, person, tame
from shopkeeper.notify.values import Mail
from shopkeeper.ui.compiled_templates import CompiledTemplates

if TYPE_CHECKING:
    from shopkeeper.notify.overrides import Override

_CODE: Final = frozenset({"code", "expires_in_minutes"})

TEMPLATES: Final[Mapping[str, frozenset[str]]] = {
    "recovery_valid": frozenset({"recovery_url", "expires_in_minutes"}),
    "recovery_invalid": frozenset(),
    "recovery_code_valid": _CODE,
    "recovery_code_invalid": frozenset(),
    "verification_valid": frozenset({"verification_url", "expires_in_minutes"}),
    "verification_invalid": frozenset(),
    "verification_code_valid": _CODE | {"verification_url"},
    "verification_code_invalid": frozenset(),
    "login_code_valid": _CODE,
    "registration_code_valid": _CODE,
    "welcome": frozenset(),
    "sign_up_attempt": frozenset(),
    "order_placed": frozenset({"number", "lines", "total", "placed_at"}),
    "password_changed": frozenset(),
    "sign_in_linked": frozenset({"provider"}),
    "address_wanted": frozenset(),
    "address_changed": frozenset({"new_address", "undo_url", "hours"}),
    "support_access": frozenset({"ends_at"}),
    "new_device": frozenset({"device", "signed_in_at", "end_url", "hours"}),
}
"""Every mail, and the values that its template needs beside the shop's name and address.

The types that Kratos has bear its names, so that overrides for it are found. `new_address` is shown masked. `device` is
`{"browser": …, "system": …}`, where either may be None. Links (`…_url`) may be longer than other texts.
"""

OPTIONAL: Final = frozenset({"to", "first_name", "identity", "request_url", "traits", "transient_payload"})
"""What every template may use, and is None where it was not given.

`first_name` is what the mail greets, `identity` the account as its owner may see it; `request_url` and
`transient_payload` are those of the flow that the mail belongs to, and `traits` those of a registration by code, all as
in Kratos' template data.
"""

PARTS: Final = ("subject", "txt", "html")
"""The templates of a mail: `<mail>.<part>.j2`."""

_COMPILED = CompiledTemplates()


class MailTemplates:
    """Renders mails. All values are treated as written by a stranger.

    Args:
        locales: the languages to offer; the first one is the default.
        overrides: templates in place of ours.

    >>> MailTemplates(["en", "de"]).language("de-AT"), MailTemplates(["en", "de"]).language("fr")
    ('de', 'en')
    """

    def __init__(
        self, locales: Sequence[str] = LANGUAGES, *, overrides: "Mapping[str, Override] | None" = None
    ) -> None:
        if not locales:
            raise ValueError("mails need at least one language")
        self._environments = {locale: _environment(locale, overrides or {}) for locale in locales}
        self._default = locales[0]

    def language(self, wanted: str) -> str:
        """Return the best available language: the wanted one, the same without its region, or the default."""
        candidates = (wanted, wanted.replace("_", "-").partition("-")[0].lower(), self._default)
        return next(locale for locale in candidates if locale in self._environments)

    def require(self, template: str, context: Mapping[str, Any]) -> None:
        """Raise `ValueError` where there is no such mail, or a value that it needs is missing."""
        missing = sorted(_needs(template) - context.keys())
        if missing:
            raise ValueError(f"the mail {template} needs to know {', '.join(missing)}")

    def render(self, template: str, context: Mapping[str, Any], *, locale: str = SOURCE) -> Mail:
        """Render a mail in a language. Raises `ValueError` where the template is unknown or a value that it needs is
        missing."""
        self.require(template, context)
        environment = self._environments[self.language(locale)]
        known = {**dict.fromkeys(OPTIONAL), **tame(context)}
        subject, text, html = (environment.get_template(f"{template}.{part}.j2").render(known) for part in PARTS)
        return Mail(subject=tame(subject), text=text.strip() + "\n", html=html)


def _needs(template: str) -> frozenset[str]:
    if template not in TEMPLATES:
        raise ValueError(f"there is no mail {template!r}; there are {', '.join(sorted(TEMPLATES))}")
    return TEMPLATES[template] | {"shop_name", "base_url"}


class _Loader(BaseLoader):
    """Loads an operator's template for a language, or for every language, or else ours."""

    def __init__(self, locale: str, overrides: "Mapping[str, Override]") -> None:
        self._locale, self._overrides = locale, overrides
        self._ours = PackageLoader("shopkeeper", "web/mail")

    def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, Callable[[], bool] | None]:
        """See `BaseLoader`."""
        for name in (f"{self._locale}/{template}", template):
            if own := self._overrides.get(name):
                return own.source, own.origin, lambda: True
        return self._ours.get_source(environment, template)


def _environment(locale: str, overrides: "Mapping[str, Override]") -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        loader=_Loader(locale, overrides),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        bytecode_cache=_COMPILED,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_translations(translations(locale, "mail"), newstyle=True)  # type: ignore[attr-defined]
    environment.globals["language"] = locale
    environment.filters |= {
        "money": partial(money, locale=locale),
        "day": partial(day, locale=locale),
        "moment": partial(moment, locale=locale),
        "person": person,
        "masked": masked,
        "at": at,
    }
    return environment
