"""The nodes of a flow as HTML, for any nodes."""

from typing import Any

import pytest

from shopkeeper.http.pages.forms import form_of
from shopkeeper.http.pages.shown_providers import ShownProvider, ShownProviders
from shopkeeper.http.pages.templates import PageTemplates
from shopkeeper.ui.messages import Message, message
from shopkeeper.ui.nodes import Node, csrf_node, input_node, submit_node
from tests.http.pages.reading import Element, read

ALWAYS = {
    "base": "",
    "home": "/",
    "static": "/static/x",
    "shop_name": "Commerce",
    "demo": None,
    "dev": False,
    "recovery": False,
    "languages": (),
    "shortest_password": 12,
    "shown_providers": ShownProviders(
        {"shop-google": ShownProvider("google", "Google"), "idp": ShownProvider("generic", "Harbour")}
    ),
}
TEMPLATES = PageTemplates(always=ALWAYS)
WRONG = message(4000002, property="email")
CODE = input_node("code", "text", group="code", autocomplete="one-time-code", label=message(1070013))
SIGN_IN = submit_node("password", label=message(1010022))


def draw(*nodes: Node, messages: tuple[Message, ...] = (), language: str = "en", links: bool = False) -> Element:
    """Draw a page with some nodes; `links` says whether a way to sign in waits for the proof."""
    form = form_of(nodes, messages, action="/self-service/login?flow=1", csrf_token="masked")
    context: dict[str, Any] = {
        "form": form,
        "refresh": False,
        "links": links,
        "cart_stays": False,
        "query": "",
        "another_way": None,
        "flow_state": "choose_method",
    }
    nobody = {"signed_in": None, "sign_out_link": None, "csrf_token": "", "acting": False}
    return read(TEMPLATES.render("login", {**context, **nobody}, language=language))


class TestFields:
    def test_a_field_has_its_label_value_and_limits(self) -> None:
        label = message(1070002, title="E-mail")
        node = input_node(
            "traits.email", "email", group="default", value="a@b.c", autocomplete="email", label=label, maxlength=99
        )
        page = draw(node)
        field = page.one("input", name="traits.email")
        assert (field["type"], field["value"], field["autocomplete"], field["maxlength"]) == (
            "email",
            "a@b.c",
            "email",
            "99",
        )
        assert page.one("label", for_=field["id"]).text == "E-mail optional"

    def test_what_has_to_be_filled_in_is_required_and_not_called_optional(self) -> None:
        page = draw(input_node("x", "text", group="default", required=True, label=message(1070004)))
        assert page.one("input", name="x").has("required")
        assert page.one("label").text == "ID"

    def test_a_field_without_a_label_is_called_by_its_name(self) -> None:
        assert draw(input_node("traits.name.first", "text", group="default")).one("label").text == "first optional"

    def test_messages_describe_their_field(self) -> None:
        page = draw(input_node("x", "text", group="default").with_messages(WRONG, message(4000037)))
        field = page.one("input", name="x")
        told = [page.one("p", id=id_).text for id_ in field["aria-describedby"].split()]
        assert told == ["Please fill in: email.", "There is no such account, or it has no way to sign in yet."]
        assert field["aria-invalid"] == "true"

    @pytest.mark.parametrize(
        ("language", "told"),
        [
            ("en", ["Please fill in: ID.", "Please fill in: Password.", "Please fill in: Sign-in code."]),
            ("de", ["Bitte ausfüllen: Kennung.", "Bitte ausfüllen: Passwort.", "Bitte ausfüllen: Code zum Anmelden."]),
        ],
    )
    def test_a_message_calls_a_field_by_its_label(self, language: str, told: list[str]) -> None:
        fields = [
            input_node(name, "text", group="default", label=message(label)).with_messages(
                message(4000002, property=name)
            )
            for name, label in (("identifier", 1070004), ("password", 1070001), ("code", 1070013))
        ]
        page = draw(*fields, language=language)
        assert [each.text for each in page.all("p", class_="message error")] == told

    def test_a_message_calls_a_field_without_a_label_by_its_name(self) -> None:
        node = input_node("traits.name.first", "text", group="default")
        page = draw(node.with_messages(message(4000002, property="first")), language="de")
        assert page.one("p", class_="message error").text == "Bitte ausfüllen: first."

    def test_a_message_that_is_no_error_does_not_make_a_field_wrong(self) -> None:
        field = draw(input_node("x", "text", group="default").with_messages(message(1010003))).one("input", name="x")
        assert field.has("aria-describedby")
        assert not field.has("aria-invalid")

    def test_a_password_is_never_shown_again(self) -> None:
        page = draw(input_node("password", "password", group="password", value="secret"))
        assert not page.one("input", name="password").has("value")

    def test_a_new_password_says_what_it_needs_until_something_is_wrong_with_it(self) -> None:
        new = input_node("password", "password", group="password", autocomplete="new-password")
        page = draw(new, language="de")
        assert page.one("p", id=page.one("input", name="password")["aria-describedby"]).text == "Mindestens 12 Zeichen."
        wrong = draw(new.with_messages(message(4000039)))
        assert [each.text for each in wrong.all("p", class_="message")] == []
        assert wrong.one("p", id=wrong.one("input", name="password")["aria-describedby"])["class"] == "message error"
        known = draw(input_node("password", "password", group="password", autocomplete="current-password"))
        assert not known.one("input", name="password").has("aria-describedby")

    def test_a_mailed_code_is_typed_on_a_keypad(self) -> None:
        page = draw(input_node("x", "text", group="default"), CODE)
        field = page.one("input", name="code")
        assert (field["inputmode"], field["autocomplete"]) == ("numeric", "one-time-code")
        assert not page.one("input", name="x").has("inputmode")

    def test_the_choice_to_be_kept_signed_in_comes_behind_the_fields(self) -> None:
        kept = input_node("keep_signed_in", "checkbox", group="default", value=False)
        password = input_node("password", "password", group="password")
        buttons = {group: submit_node(group, label=message(1070009)) for group in ("code", "password")}
        page = draw(kept, buttons["code"], password, buttons["password"])
        shown = [each["name"] for each in page.all("input") if each.get("type") != "hidden"]
        assert shown == ["password", "keep_signed_in"]
        assert [each["value"] for each in page.all("button")] == ["password", "code"]

    def test_an_unknown_type_is_a_text_field(self) -> None:
        assert draw(input_node("x", "image", group="default")).one("input", name="x")["type"] == "text"

    def test_a_choice_has_its_options_and_what_was_chosen(self) -> None:
        options = [{"value": "tea"}, {"value": "coffee"}]
        select = draw(input_node("x", "text", group="default", value="coffee", options=options)).one("select", name="x")
        assert [option.get("value") for option in select.all("option")] == ["", "tea", "coffee"]
        assert [option.text for option in select.all("option") if option.has("selected")] == ["coffee"]

    @pytest.mark.parametrize(("value", "sent"), [(True, "true"), ("true", "true"), (False, "false"), (None, "false")])
    def test_an_unticked_box_sends_its_own_value(self, value: Any, sent: str) -> None:
        page = draw(input_node("traits.news", "checkbox", group="default", value=value))
        assert page.one("form").fields()["traits.news"] == sent

    def test_the_pattern_of_a_trait_is_left_to_the_server(self) -> None:
        """A schema's pattern may match any part of the value, and HTML's has to match all of it."""
        page = draw(
            input_node("traits.club", "text", group="default", pattern="[0-9]"),
            input_node("code", "text", group="code", pattern="[0-9]+"),
        )
        assert page.one("input", name="traits.club").get("pattern") is None
        assert page.one("input", name="code")["pattern"] == "[0-9]+"

    def test_a_disabled_field_is_disabled(self) -> None:
        node = input_node("x", "text", group="default")
        off = Node(node.type, node.group, {**node.attributes, "disabled": True})
        page = draw(off)
        assert page.one("input", name="x").has("disabled")
        assert page.one("label").text == "x", "it is not optional either"

    def test_hidden_fields_are_sent_along_and_the_token_is_put_in(self) -> None:
        page = draw(csrf_node(), input_node("identifier", "hidden", group="default", value="ana"))
        assert page.one("form").fields() == {"csrf_token": "masked", "identifier": "ana"}


class TestFocus:
    def test_goes_to_the_first_field_that_is_wrong(self) -> None:
        right, wrong = input_node("a", "text", group="default"), input_node("b", "text", group="default")
        page = draw(right, wrong.with_messages(WRONG), input_node("c", "text", group="default").with_messages(WRONG))
        assert [element["name"] for element in page.below() if element.has("autofocus")] == ["b"]

    def test_goes_to_the_messages_above_where_no_field_is_wrong(self) -> None:
        page = draw(input_node("a", "text", group="default"), messages=(message(4000006),))
        assert [element.get("class") for element in page.below() if element.has("autofocus")] == ["notices"]

    def test_stays_where_it_is_while_nothing_is_wrong(self) -> None:
        page = draw(input_node("a", "text", group="default"), messages=(message(1010003),))
        assert not [element for element in page.below() if element.has("autofocus")]

    def test_goes_to_the_field_of_a_mailed_code(self) -> None:
        page = draw(input_node("a", "text", group="default"), CODE, messages=(message(1010014),))
        assert [element["name"] for element in page.below() if element.has("autofocus")] == ["code"]

    def test_goes_to_the_messages_above_after_a_wrong_code(self) -> None:
        page = draw(CODE, messages=(message(4010008),))
        assert [element.get("class") for element in page.below() if element.has("autofocus")] == ["notices"]

    def test_goes_to_a_wrong_field_rather_than_to_the_code(self) -> None:
        page = draw(CODE, input_node("a", "text", group="default").with_messages(WRONG))
        assert [element["name"] for element in page.below() if element.has("autofocus")] == ["a"]


class TestButtons:
    def test_the_first_is_the_main_button(self) -> None:
        back = input_node("screen", "submit", group="profile", value="previous", label=message(1040008))
        buttons = draw(SIGN_IN, back).all("button")
        assert [(b["name"], b["value"], b["class"], b.text) for b in buttons] == [
            ("method", "password", "button", "Sign in with password"),
            ("screen", "previous", "button plain", "Back"),
        ]

    def test_going_back_needs_nothing_filled_in(self) -> None:
        """The button is a form of its own, which sends what is known and no password, with the method that it belongs
        to."""
        back = input_node("screen", "submit", group="profile", value="previous", label=message(1040008))
        email = input_node("traits.email", "hidden", group="default", value="a@b.c")
        password = input_node("password", "password", group="password", required=True)
        main, turn = draw(csrf_node(), email, password, SIGN_IN, back).all("form")
        assert [button.text for button in main.all("button")] == ["Sign in with password"]
        assert [(button["name"], button["value"]) for button in turn.all("button")] == [("screen", "previous")]
        assert turn.fields() == {"csrf_token": "masked", "traits.email": "a@b.c", "method": "profile"}

    def test_with_several_methods_a_field_of_one_is_not_required_for_another(self) -> None:
        assert not draw(SIGN_IN).one("form").has("novalidate")
        assert draw(SIGN_IN, submit_node("code", label=message(1070009))).one("form").has("novalidate")

    def test_enter_in_a_field_presses_the_button_of_its_method(self) -> None:
        """Enter presses the first button of a form, which must not be the one that mails a code."""
        code = submit_node("code", label=message(1010015))
        identifier = input_node("identifier", "text", group="default", label=message(1070004))
        password = input_node("password", "password", group="password", label=message(1070001))
        buttons = draw(csrf_node(), identifier, code, password, SIGN_IN).one("form").all("button")
        assert [(button["value"], "plain" in button["class"]) for button in buttons] == [
            ("password", False),
            ("code", True),
        ]

    def test_a_button_that_leads_elsewhere_is_never_the_main_one(self) -> None:
        resend = input_node("resend", "submit", group="code", value="code", label=message(1070008))
        code = input_node("code", "text", group="code", label=message(1070013))
        buttons = draw(csrf_node(), code, resend, submit_node("code", label=message(1070009))).all("button")
        assert [(button["name"], "plain" in button["class"]) for button in buttons] == [
            ("method", False),
            ("resend", True),
        ]


class TestOtherNodes:
    def test_a_text_is_shown(self) -> None:
        text = Node("text", "totp", {"id": "key", "text": {"id": 1, "text": "JBSW Y3DP", "type": "info"}})
        assert draw(text).one("p", class_="code").text == "JBSW Y3DP"

    def test_a_picture_is_shown(self) -> None:
        picture = Node("img", "totp", {"id": "qr", "src": "data:image/png;base64,AA==", "width": 256, "height": 256})
        image = [image for image in draw(picture).all("img") if image.has("src") and "data:" in image["src"]]
        assert [(each["src"], each["width"]) for each in image] == [("data:image/png;base64,AA==", "256")]

    def test_a_link_is_shown(self) -> None:
        link = Node(
            "a",
            "link",
            {"id": "l", "href": "https://example.org/", "title": {"id": 1, "text": "There", "type": "info"}},
        )
        assert draw(link).one("a", href="https://example.org/").text == "There"

    def test_what_needs_scripts_is_left_to_pages_that_have_some(self) -> None:
        script = Node("script", "webauthn", {"id": "s", "src": "https://evil.example/x.js"})
        button = input_node("passkey", "button", group="passkey", onclick="alert(1)", label=message(1010001))
        page = draw(script, button, SIGN_IN)
        assert not page.all("script")
        assert [each.text for each in page.all("button")] == ["Sign in with password"]


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onfocus='alert(1)' autofocus='",
    "</textarea></form><form action=//evil.example>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "\u202e<b>\x00",
]


class TestRow089MarkupInFormsStaysText:
    """Stored and reflected markup on login pages (ZITADEL CVE-2024-41953 and others, authentik CVE-2026-42849)."""

    @pytest.mark.parametrize("hostile", HOSTILE)
    def test_row_089_in_every_place_of_a_node(self, hostile: str) -> None:
        page = everywhere(hostile)
        assert elements(page) == elements(everywhere("plain words"))
        assert not page.all("script")

    def test_row_089_a_value_comes_out_as_it_went_in(self) -> None:
        page = draw(input_node("x", "text", group="default", value=HOSTILE[1]))
        assert page.one("input", name="x")["value"] == HOSTILE[1]

    @pytest.mark.parametrize("type_", ["a", "img"])
    @pytest.mark.parametrize(
        "address", ["javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "vbscript:x"]
    )
    def test_row_089_an_address_that_would_run_something_leads_nowhere(self, type_: str, address: str) -> None:
        page = draw(Node(type_, "t", {"id": "l", "href": address, "src": address}))
        assert address not in {e.get(name) for e in page.below() for name in ("href", "src")}


def everywhere(text: str) -> Element:
    """Draw a page with one text in every place of a node or a message."""
    told = Message(4000001, "error", text, {"reason": text})
    nodes = [
        input_node(text, "text", group="default", value=text, label=told, autocomplete=text, pattern=text),
        input_node("a", "text", group="default", value=text, options=[{"value": text}]),
        input_node("b", "checkbox", group="default", value=text),
        input_node("c", "hidden", group="default", value=text),
        submit_node(text, label=told),
        Node("text", "t", {"id": "t", "text": {"id": 1, "text": text, "type": "info"}}, told),
        Node("img", "t", {"id": "i", "src": text}, told),
        Node("a", "t", {"id": "l", "href": text, "title": {"id": 1, "text": text, "type": "info"}}),
    ]
    return draw(*(node.with_messages(told) for node in nodes), messages=(told,))


def elements(page: Element) -> list[tuple[str, list[str]]]:
    """Return the shape of a page: its elements and the names of their attributes."""
    return [(element.tag, sorted(element.attributes)) for element in page.below()]
