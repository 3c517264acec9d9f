"""The mails: complete in every language, and harmless for any value in them."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po
from jinja2 import UndefinedError, meta

from shopkeeper.crypto import KeyRing
from shopkeeper.notify.secret_mails import READABLE, SecretMails
from shopkeeper.notify.templates import OPTIONAL, PARTS, TEMPLATES, MailTemplates

WEB = Path(str(files("shopkeeper") / "web"))
BASE = "https://shop.example/accounts"
KNOWN: Mapping[str, Any] = {
    "provider": "The Harbour",
    "first_name": "Ana",
    "number": "SK-1001",
    "lines": [
        {"name": "Enamel mug, blue", "quantity": 2, "total": {"amount": 2598, "currency": "EUR"}},
        {"name": "Tea towel", "quantity": 1, "total": {"amount": 900, "currency": "EUR"}},
    ],
    "total": {"amount": 3498, "currency": "EUR"},
    "placed_at": datetime(2026, 3, 14, 15, 9, tzinfo=UTC),
    "code": "042042",
    "expires_in_minutes": 60,
    "hours": 72,
    "recovery_url": f"{BASE}/self-service/recovery?flow=1&token=2",
    "verification_url": f"{BASE}/self-service/verification?flow=1&code=2",
    "undo_url": f"{BASE}/undo?token=3",
    "end_url": f"{BASE}/end?token=4",
    "new_address": "eve@example.org",
    "device": {"browser": "Firefox", "system": "Windows"},
    "signed_in_at": "2026-03-14T15:09:00+00:00",
    "ends_at": "2026-03-14T15:29:00+00:00",
    "shop_name": "Corner & Sons",
    "base_url": BASE,
}
ATTACKS = {
    "script": "<script>alert(1)</script>",
    "attribute": "\"'><img src=x onerror=alert(1)>",
    "header": "Ana\r\nBcc: everybody@evil.example\r\n\r\n<h1>x</h1>",
    "template": "{{ cycler.__init__.__globals__ }}{% for x in range(9) %}",
    "format": "%(shop)s %s %n %",
    "turned": "\u202egnp.exe",
    "nul": "a\x00b",
}


class Page(HTMLParser):
    """A mail as a mail program parses it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.links: set[str] = set()
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {str(value) for name, value in attrs if name in {"href", "src", "action", "background"}}

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def templates() -> MailTemplates:
    return MailTemplates()


@pytest.fixture(params=sorted(TEMPLATES))
def template(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["en", "de", "es"])
def locale(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class TestWords:
    @pytest.mark.parametrize(
        ("locale", "subject", "total", "day"),
        [
            ("en", "Your order SK-1001 at Corner & Sons", "Total: €34.98", "March 14, 2026"),
            ("de", "Ihre Bestellung SK-1001 bei Corner & Sons", "Gesamt: 34,98\u00a0€", "14. März 2026"),
            ("es", "Tu pedido SK-1001 en Corner & Sons", "Total: 34,98\u00a0€", "14 de marzo de 2026"),
        ],
    )
    def test_an_order_is_confirmed_in_the_customers_language(
        self, templates: MailTemplates, locale: str, subject: str, total: str, day: str
    ) -> None:
        mail = templates.render("order_placed", KNOWN, locale=locale)
        assert mail.subject == subject
        for words in (total, day, "2 × Enamel mug, blue", "SK-1001", "Ana"):
            assert words in mail.text
        assert total.split(": ")[1] in mail.html

    def test_text_and_html_say_the_same(self, templates: MailTemplates, template: str, locale: str) -> None:
        mail = templates.render(template, KNOWN, locale=locale)
        shown = " ".join(Page(mail.html).words.split())
        paragraphs = [line for line in mail.text.split("\n") if len(line) > 60 and "http" not in line]
        assert paragraphs
        for paragraph in paragraphs:
            assert " ".join(paragraph.split()) in shown

    def test_languages_differ(self, templates: MailTemplates, template: str) -> None:
        assert len({templates.render(template, KNOWN, locale=locale).text for locale in ("en", "de", "es")}) == 3

    def test_the_html_names_its_language(self, templates: MailTemplates, template: str, locale: str) -> None:
        assert f'<html lang="{locale}">' in templates.render(template, KNOWN, locale=locale).html

    @pytest.mark.parametrize(
        ("wanted", "served"),
        [("de", "de"), ("de-AT", "de"), ("ES_mx", "es"), ("fr", "en"), ("", "en"), ("../../etc", "en")],
    )
    def test_the_nearest_language_is_used(self, templates: MailTemplates, wanted: str, served: str) -> None:
        assert templates.language(wanted) == served

    def test_a_recipient_without_a_name_is_greeted_too(self, templates: MailTemplates, locale: str) -> None:
        mail = templates.render("welcome", {**KNOWN, "first_name": None}, locale=locale)
        assert "None" not in mail.text + mail.html
        assert re.match(r"[^\W\d]+( Tag)?[,:]\n", mail.text)

    def test_the_owner_of_an_account_is_not_greeted_by_a_strangers_words(self, templates: MailTemplates) -> None:
        mail = templates.render("sign_up_attempt", {**KNOWN, "first_name": "Somebody Else"})
        assert "Somebody Else" not in mail.text + mail.html


class TestMistakesOfOurs:
    def test_an_unknown_mail_is_named(self, templates: MailTemplates) -> None:
        with pytest.raises(
            ValueError, match="no mail 'wellcome'; there are address_changed, address_wanted, login_code_valid, "
        ):
            templates.render("wellcome", KNOWN)

    def test_a_value_that_a_mail_was_not_given_is_named(self, templates: MailTemplates) -> None:
        known = {key: value for key, value in KNOWN.items() if key not in {"number", "total"}}
        with pytest.raises(ValueError, match="order_placed needs to know number, total"):
            templates.render("order_placed", known)

    def test_no_value_is_left_blank_silently(self, templates: MailTemplates) -> None:
        with pytest.raises(UndefinedError, match="quantity"):
            templates.render("order_placed", {**KNOWN, "lines": [{"name": "Mug", "total": KNOWN["total"]}]})

    def test_a_language_without_translations_is_refused_at_the_start(self) -> None:
        with pytest.raises(ValueError, match=r"no catalogue mail\.po in 'fr'"):
            MailTemplates(["en", "fr"])

    def test_no_language_at_all_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least one language"):
            MailTemplates([])


@pytest.mark.parametrize("template", ["login_code_valid", "registration_code_valid", "recovery_valid"])
@pytest.mark.parametrize(
    ("language", "minutes", "said"),
    [
        ("en", 1, "within 1 minute."),
        ("en", 10, "within 10 minutes."),
        ("de", 1, "innerhalb von 1 Minute."),
        ("de", 10, "innerhalb von 10 Minuten."),
        ("es", 1, "en un plazo de 1 minuto."),
        ("es", 10, "en un plazo de 10 minutos."),
    ],
)
def test_one_minute_is_not_said_as_several(
    templates: MailTemplates, template: str, language: str, minutes: int, said: str
) -> None:
    mail = templates.render(template, {**KNOWN, "expires_in_minutes": minutes}, locale=language)
    assert said in mail.text
    assert said in mail.html


class TestCatalogues:
    """The translations are complete: every sentence, with every value in it, and no sentence that was removed."""

    @pytest.fixture
    def sentences(self) -> set[str]:
        options = {"**.j2": {"trimmed": "true", "newstyle_gettext": "true", "silent": "false"}}
        methods = [("**.j2", "jinja2")]
        return {str(found[2]) for found in extract_from_dir(WEB / "mail", methods, options)}

    @pytest.fixture(params=["de", "es"])
    def catalogue(self, request: pytest.FixtureRequest) -> Iterator[Catalog]:
        with (WEB / "locale" / request.param / "LC_MESSAGES" / "mail.po").open("rb") as source:
            yield read_po(source, locale=request.param, abort_invalid=True)

    def test_every_sentence_is_translated_and_nothing_else(self, catalogue: Catalog, sentences: set[str]) -> None:
        assert len(sentences) > 10
        assert {str(message.id) for message in catalogue if message.id and message.string} == sentences

    def test_every_value_survives_the_translation(self, catalogue: Catalog) -> None:
        for message in catalogue:
            values = re.compile(r"%\((\w+)\)s")
            assert set(values.findall(str(message.id))) == set(values.findall(str(message.string)))
            assert not message.fuzzy or not message.id

    def test_no_translation_holds_markup(self, catalogue: Catalog) -> None:
        # Translations are trusted in HTML, so they must not hold markup.
        assert not [m.id for m in catalogue if m.id and re.search(r"[<>&]", str(m.string))]


class TestAttacks:
    @pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
    def test_row_089_markup_in_traits_and_names_stays_text(
        self, templates: MailTemplates, template: str, locale: str, attack: str
    ) -> None:
        lines = [{"name": attack, "quantity": 1, "total": {"amount": 1, "currency": "EUR"}}]
        poisoned = {**KNOWN, "first_name": attack, "number": attack, "lines": lines, "shop_name": attack}
        clean = Page(templates.render(template, {**KNOWN, "lines": KNOWN["lines"][:1]}, locale=locale).html)
        page = Page(templates.render(template, poisoned, locale=locale).html)
        assert page.tags == clean.tags
        assert page.attributes == clean.attributes
        assert page.links == clean.links

    @pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
    def test_row_089_a_subject_is_one_line(
        self, templates: MailTemplates, template: str, locale: str, attack: str
    ) -> None:
        poisoned = {**KNOWN, "first_name": attack, "number": attack, "shop_name": attack}
        subject = templates.render(template, poisoned, locale=locale).subject
        assert subject.isprintable()
        assert "\u202e" not in subject

    def test_row_089_a_name_opens_no_paragraph_of_its_own(self, templates: MailTemplates) -> None:
        name = "Ana,\r\n\r\nyour account is locked"
        text = templates.render("welcome", {**KNOWN, "first_name": name}).text
        assert text.startswith("Hello Ana, your account is locked,\n")

    def test_row_089_values_are_never_run_as_templates(self, templates: MailTemplates) -> None:
        known = {**KNOWN, "number": "{{ 7 * 7 }}"}
        assert "{{ 7 * 7 }}" in templates.render("order_placed", known).text

    def test_row_089_advertising_in_a_name_is_not_carried(self, templates: MailTemplates) -> None:
        mail = templates.render("welcome", {**KNOWN, "first_name": "You won! https://evil.example/claim"})
        assert "evil" not in mail.text + mail.html

    def test_row_044_every_link_leads_to_the_configured_address(
        self, templates: MailTemplates, template: str, locale: str
    ) -> None:
        mail = templates.render(template, KNOWN, locale=locale)
        links = Page(mail.html).links | set(re.findall(r"https?://\S+", mail.text))
        assert links
        assert all(link.startswith(BASE + "/") for link in links)

    def test_nothing_is_loaded_from_elsewhere_when_a_mail_is_opened(
        self, templates: MailTemplates, template: str
    ) -> None:
        html = templates.render(template, KNOWN).html
        assert not re.search(r"<(img|link|script|iframe|object|form)\b|url\(|@import", html)


def test_every_mail_that_shows_a_code_or_a_link_of_its_own_is_sealed(template: str) -> None:
    reader = MailTemplates(["en"])._environments["en"]
    sources = [(WEB / "mail" / f"{template}.{part}.j2").read_text() for part in PARTS]
    shown = {name for source in sources for name in meta.find_undeclared_variables(reader.parse(source))}
    known = (shown | TEMPLATES[template]) - OPTIONAL - {"base_url"}
    secret = {name for name in known if re.search(r"code|token|link|url|secret", name)}
    concerned = SecretMails(KeyRing(["s" * 32], purpose="mails")).concerns(template)
    assert concerned is bool(secret), secret


def test_a_mail_is_sealed_unless_it_is_listed_as_readable() -> None:
    mails = SecretMails(KeyRing(["s" * 32], purpose="mails"))
    assert mails.concerns("a_new_mail")
    assert TEMPLATES.keys() >= READABLE
