"""The buttons of identity providers on the forms to sign in and to register, and the forms that follow them."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from shopkeeper.http.pages.provider_marks import INK, MARKS, mark_of
from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import Node, csrf_node, input_node, submit_node
from tests.http.pages.reading import Element
from tests.http.pages.test_forms import SIGN_IN, draw
from tests.http.pages.test_golden_forms import draw as draw_flow
from tests.http.pages.test_golden_forms import flow_of

IDENTIFIER = input_node("identifier", "text", group="default", required=True, label=message(1070004))
PASSWORD = input_node("password", "password", group="password", required=True, label=message(1070001))
KEEP = input_node("keep_signed_in", "checkbox", group="default", value=False, label=message(1079001))
GOLDEN = "login/1fa/unified/oidc/with-password/initial-form"


def provider(id_: str, label: str, number: int = 1010002) -> Node:
    label_of = message(number, provider=label, provider_id=id_)
    return input_node("provider", "submit", group="oidc", value=id_, label=label_of)


def buttons(page: Element) -> Sequence[Element]:
    return page.all("button", name="provider")


def named(button: Element) -> str:
    """Return the name of a button for those who cannot see it: its text without the mark."""
    assert button.one("svg")["aria-hidden"] == "true"
    return button.one("span").text


class TestButtons:
    @pytest.mark.parametrize(
        ("name", "sentence"),
        [
            (GOLDEN, "Sign in with {}"),
            ("login/1fa/identifier_first/oidc/with-password/initial-form", "Sign in with {}"),
            ("registration/one-step/oidc/initial-form", "Sign up with {}"),
        ],
    )
    def test_are_in_the_order_of_the_nodes_behind_the_form(self, shared: Path, name: str, sentence: str) -> None:
        page = draw_flow(name.partition("/")[0], flow_of(shared, name))
        main, providers = page.all("form")
        labels = ["Apple", "auth0", "FooBarLogo", "GitHub", "Google", "LinkedIn", "Microsoft", "x"]
        assert [named(button) for button in buttons(providers)] == [sentence.format(label) for label in labels]
        assert buttons(main) == []
        assert page.one("p", class_="or").text == "or"

    def test_send_the_provider_and_no_field(self) -> None:
        page = draw(provider("shop-google", "Google"), csrf_node(), IDENTIFIER, PASSWORD, SIGN_IN)
        _, form = page.all("form")
        assert form.fields() == {"csrf_token": "masked", "method": "oidc"}
        assert (form.one("button")["name"], form.one("button")["value"]) == ("provider", "shop-google")

    def test_in_a_second_step_they_send_the_address_along(self, shared: Path) -> None:
        page = draw_flow("login", flow_of(shared, "login/1fa/identifier_first/oidc/credential-select"))
        form = page.one("form")
        assert form.fields() == {"csrf_token": "masked", "identifier": "dev@ory.dev", "method": "oidc"}
        assert page.all("p", class_="or") == []

    def test_the_choice_to_be_kept_signed_in_holds_for_them(self) -> None:
        page = draw(provider("idp", "Harbour"), csrf_node(), IDENTIFIER, PASSWORD, KEEP, SIGN_IN)
        main = page.one("form")
        [button] = buttons(page)
        assert main.one("input", type="checkbox")["name"] == "keep_signed_in"
        assert (button["form"], button.has("formnovalidate")) == (main["id"], True)
        assert main.one("button")["value"] == "password", "Enter in a field presses the first button"

    def test_alone_they_need_no_other_form(self) -> None:
        page = draw(provider("google", "Google"), csrf_node())
        assert len(page.all("form")) == 1
        assert [named(button) for button in buttons(page)] == ["Sign in with Google"]

    def test_without_another_button_they_belong_to_the_fields(self) -> None:
        page = draw(provider("google", "Google", 1040002), csrf_node(), IDENTIFIER)
        form = page.one("form")
        assert [named(button) for button in buttons(form)] == ["Sign up with Google"]
        assert form.one("input", name="identifier")

    @pytest.mark.parametrize(
        ("language", "text"), [("de", "Mit <b>Hafen</b> anmelden"), ("es", "Iniciar sesión con <b>Hafen</b>")]
    )
    def test_a_label_is_text_in_the_readers_language(self, language: str, text: str) -> None:
        page = draw(provider("idp", "<b>Hafen</b>"), csrf_node(), language=language)
        assert named(buttons(page)[0]) == text


class TestMarks:
    def test_belong_to_the_preset_of_the_provider(self) -> None:
        page = draw(provider("shop-google", "Our staff"), provider("idp", "öffentlich"), csrf_node())
        google, generic = [button.one("svg") for button in buttons(page)]
        assert google.one("circle")["fill"] == MARKS["google"].colour
        assert generic.one("text").text == "Ö"

    def test_a_letter_is_never_more_than_one(self) -> None:
        assert [mark_of("generic", label).letter for label in ("ßhop", "  ", "", "1st")] == ["S", "?", "?", "1"]

    @pytest.mark.parametrize("preset", MARKS)
    def test_white_on_them_can_be_seen(self, preset: str) -> None:
        """WCAG 2.2, 1.4.11: what is drawn has a contrast of 3 to 1."""
        colour = MARKS[preset].colour
        assert colour == INK or 1.05 / (_luminance(colour) + 0.05) >= 3


def _luminance(colour: str) -> float:
    """Return the relative luminance of a colour (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("style", ["one-step", "two-step"])
def test_what_a_provider_has_not_told_is_asked_for_and_sent_by_its_button(shared: Path, style: str) -> None:
    page = draw_flow("registration", flow_of(shared, f"registration/{style}/oidc/missing-fields"), language="de")
    form = page.one("form")
    assert page.one("h1").text == "Fast geschafft"
    assert page.one("title").text.startswith("Fast geschafft"), "what is missing is no mistake of the reader"
    assert page.one("p", class_="hint").text.startswith("Ihre Anmeldung mit google-fake hat geklappt.")
    button = form.one("button")
    assert (button["name"], button["value"], button.text) == ("provider", "google-fake", "Weiter")
    assert form.one("input", name="traits.email")["value"] == "dev@ory.dev"
    assert form.one("input", name="traits.phone").has("autofocus")
    inside = [each for each in form.below() if each.tag in {"input", "button"}]
    assert inside[-1].tag == "button", "the button comes behind the fields"


class TestAnAccountThatExists:
    @pytest.fixture
    def page(self, shared: Path) -> Element:
        return draw_flow("login", flow_of(shared, "login/1fa/account_linking/initial-form"), language="de")

    def test_is_explained(self, page: Element) -> None:
        assert page.one("h1").text == "Sie haben schon ein Konto"
        said = page.one("p", class_="notice info").text
        assert "dev@ory.dev" in said
        assert "Fake Google" in said
        assert "Ihr Konto: dev@ory.dev" in page.one("main").text

    def test_can_be_proven_in_its_ways(self, page: Element) -> None:
        form = page.one("form")
        assert form.fields()["identifier"] == "dev@ory.dev"
        assert [button["value"] for button in form.all("button")] == ["password", "code"]

    def test_can_be_recovered_and_no_other_one_is_offered(self, page: Element) -> None:
        links = [link["href"] for link in page.one("main").all("a")]
        assert "/self-service/recovery/browser" in links
        assert "/self-service/registration/browser" not in links


def test_another_provider_can_confirm_the_account() -> None:
    told = message(1010016, provider="Google", duplicate_identifier="ada@example.org")
    confirm = provider("github", "GitHub", 1010018)
    page = draw(confirm, csrf_node(), submit_node("code", label=message(1010015)), messages=(told,), links=True)
    assert [named(button) for button in buttons(page)] == ["Confirm with GitHub"]
