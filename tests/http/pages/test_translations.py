"""The texts of the pages, and their languages."""

import re
from importlib.resources import files

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from shopkeeper.errors import Busy, TooManyRequests
from shopkeeper.http.pages.translations import Translations
from shopkeeper.http.responses import error_object
from shopkeeper.languages.choice import LANGUAGES, preferred
from shopkeeper.openid.errors import ProviderAnswerInvalid, ProviderTokenInvalid, ProviderUnavailable
from shopkeeper.ui.messages import Message, message, reason_of
from tests.http.pages.conftest import Visited

TRANSLATED = [language for language in LANGUAGES if language != "en"]
GAP = re.compile(r"%\(\w+\)s|\{\w+\}")


@pytest.mark.parametrize(
    ("wished", "chosen"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT", "de"),
        ("DE-at", "de"),
        ("fr, es;q=0.5", "es"),
        ("en;q=0.2, de;q=0.9", "de"),
        ("de;q=0, es;q=0.1", "es"),
        ("fr", "en"),
        ("*", "en"),
        ("de;q=much", "en"),
        (";;;,,,=q", "en"),
        # A list longer than any that people write by hand; the entries beyond the limit are not read.
        (",".join(["fr"] * 20 + ["de"]), "en"),
        # A tag that does not fit in is not read in part: this would be "es".
        ("x" * 197 + ",est,de", "en"),
    ],
)
def test_the_language_is_that_of_the_accept_language_header(wished: str, chosen: str) -> None:
    assert (preferred(wished) or "en") == chosen


def test_a_message_with_an_unknown_number_is_shown_as_it_is() -> None:
    assert Translations(LANGUAGES[-1]).message(Message(99, "info", "As it is.")) == "As it is."


def test_in_english_a_message_is_shown_as_it_was_written() -> None:
    assert Translations("en").message(message(4000002, property="email")) == "Please fill in: email."


@pytest.mark.parametrize(
    ("seconds", "wait"), [(1, "1 s"), (90, "90 s"), (91, "2 min"), (120, "2 min"), (121, "3 min"), (2158, "36 min")]
)
@pytest.mark.parametrize(
    ("language", "told"),
    [
        ("en", "That was a little too often. Try again in {wait}."),
        ("de", "Das war etwas zu oft. Versuchen Sie es in {wait} noch einmal."),
    ],
)
def test_a_refusal_says_in_the_visitors_language_how_long_to_wait(
    language: str, told: str, seconds: int, wait: str
) -> None:
    refusal, translations = TooManyRequests(retry_after=seconds), Translations(language)
    assert translations.refusal(refusal.wording, refusal.sentence) == told.format(wait=wait)
    assert translations.message(reason_of(refusal)) == told.format(wait=wait)


def test_the_reason_of_a_refusal_does_not_matter_for_its_translation() -> None:
    refusal = Busy("More people are signing in than this server can serve; try again.", retry_after=1)
    told = Translations("de").refusal(refusal.wording, refusal.sentence)
    assert told == "Der Shop hat mehr zu tun, als er schafft. Versuchen Sie es in 1 s noch einmal."


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_a_provider_did_wrong_is_told_to_shoppers_without_its_details(language: str) -> None:
    for refusal in (
        ProviderTokenInvalid("The token expired 3594 seconds ago."),
        ProviderAnswerInvalid("The token answer has no tokens."),
        ProviderUnavailable("The provider answered 500.", retry_after=30),
    ):
        shown = reason_of(refusal)
        told = Translations(language).message(shown)
        assert told not in {refusal.detail, ""}
        assert "token" not in told.lower()
        assert refusal.detail not in str((shown, error_object(refusal, language=language)))


def test_a_reason_without_a_wording_is_shown_as_it_is() -> None:
    for reason in ("The body cannot be read.", "Too many attempts.", "Pay. Try again in 9 seconds."):
        assert Translations("de").message(message(4000001, reason=reason)) == reason


def catalogue(language: str) -> Catalog:
    source = files("shopkeeper") / "web" / "locale" / language / "LC_MESSAGES" / "pages.po"
    with source.open("rb") as file:
        return read_po(file, locale=language)


def written() -> set[str]:
    """Return every sentence of the templates, without those that are only a
    placeholder."""
    folder = str(files("shopkeeper") / "web" / "pages")
    options = {"**": {"trimmed": "true", "extensions": "jinja2.ext.i18n"}}
    found = extract_from_dir(folder, [("**.j2", "jinja2.ext.babel_extract")], options)  # type: ignore[list-item]
    sentences = {str(sentence) for _, _, sentence, _, _ in found}
    return {sentence for sentence in sentences if not GAP.fullmatch(sentence)}


@pytest.mark.parametrize("language", TRANSLATED)
class TestCatalogues:
    def test_every_sentence_is_translated_and_nothing_else(self, language: str) -> None:
        translated = {str(entry.id) for entry in catalogue(language) if entry.id and entry.string}
        assert written() - translated == set()
        assert translated - written() == set()

    def test_placeholders_survive_translation(self, language: str) -> None:
        wrong = [
            e.id for e in catalogue(language) if sorted(GAP.findall(str(e.id))) != sorted(GAP.findall(str(e.string)))
        ]
        assert wrong == []


async def test_pages_are_in_the_visitors_language(shop: Visited) -> None:
    browser = shop.browser(Accept_Language="de-CH, en;q=0.5")
    answer = await browser.get("/self-service/login/browser", follow_redirects=True)
    assert '<html lang="de">' in answer.text
    assert answer.headers["content-language"] == "de"
    assert "Accept-Language" in answer.headers["vary"]
    assert "Anmelden" in answer.text


async def test_messages_are_translated_by_their_number(shop: Visited) -> None:
    browser = shop.browser(Accept_Language="es")
    form = (await browser.see("/self-service/registration/browser")).one("form")
    page = await browser.submit(form, {"traits.email": "nonsense"})
    field = page.one("input", name="traits.email")
    assert page.one("p", id=field["aria-describedby"]).text == "Esto no es una dirección de correo: nonsense"


@pytest.mark.parametrize(
    ("language", "email", "first", "last"),
    [
        ("en", "E-mail", "First name", "Last name"),
        ("de", "E-Mail", "Vorname", "Nachname"),
        ("es", "Correo electrónico", "Nombre de pila", "Apellidos"),
    ],
)
async def test_the_labels_of_our_own_schema_are_translated(
    shop: Visited, language: str, email: str, first: str, last: str
) -> None:
    page = await shop.browser(Accept_Language=language).see("/self-service/registration/browser")
    labels = {label["for"]: label.text for label in page.all("label")}
    for name, title in (("traits.email", email), ("traits.name.first", first), ("traits.name.last", last)):
        assert labels[page.one("input", name=name)["id"]].startswith(title)


def test_a_title_of_another_schema_is_shown_as_it_is() -> None:
    assert Translations("de").message(message(1070002, title="Shoe size")) == "Shoe size"
    assert Translations("de").message(message(1070002, title="")) == ""
