"""The recorded forms of the contract, drawn: whatever a flow shows can be read, filled in and sent."""

import json
from pathlib import Path
from typing import Any

import pytest

from shopkeeper.http.pages.forms import form_of
from shopkeeper.ui.messages import Message
from shopkeeper.ui.nodes import Node
from tests.http.pages.reading import Element, read
from tests.http.pages.test_forms import TEMPLATES

FORMS = [
    "recovery/code/missing-email",
    "recovery/code/wrong-code",
    "verification/code/missing-email",
    "verification/code/sent-code",
    "verification/code/wrong-code",
    "login/1fa/unified/code/code-input",
    "login/1fa/identifier_first/password/missing-password",
    "registration/two-step/code/show-code-input",
]
CONTINUE = {"id": 1070009, "text": "Continue", "type": "info"}


def flow_of(shared: Path, name: str) -> dict[str, Any]:
    """Return a recorded flow."""
    flow: dict[str, Any] = json.loads((shared / "contracts/kratos/golden" / f"{name}.json").read_text())
    return flow


def draw(kind: str, flow: dict[str, Any], *, language: str = "en") -> Element:
    """Draw the page of a recorded flow."""
    ui = flow["ui"]
    nodes = [Node.from_wire(node) for node in ui["nodes"]]
    messages = [Message.from_wire(message) for message in ui.get("messages", ())]
    context = {
        "form": form_of(nodes, messages, action=ui["action"], csrf_token="masked"),
        "flow_state": flow["state"],
        "refresh": False,
        "links": any(message.id == 1010016 for message in messages),
        "recovery": True,
        "cart_stays": False,
        "query": "",
        "another_way": "/again" if flow["state"] == "sent_email" else None,
        "signed_in": None,
        "acting": False,
        "sign_out_link": None,
        "csrf_token": "",
    }
    return read(TEMPLATES.render(kind, context, language=language))


@pytest.mark.parametrize("name", FORMS)
def test_every_field_that_is_seen_has_a_label_and_every_message_is_shown(shared: Path, name: str) -> None:
    flow = flow_of(shared, name)
    page = draw(name.partition("/")[0], flow)
    labels = {label["for"] for label in page.all("label")}
    seen = [field for field in page.all("input") if field["type"] != "hidden"]
    assert seen
    assert [field["name"] for field in seen if field["id"] not in labels] == []
    shown = page.one("main").text
    for message in [*flow["ui"].get("messages", ()), *(m for node in flow["ui"]["nodes"] for m in node["messages"])]:
        known = Message.from_wire(message)
        assert (known.text if known.id != 4000002 else "Please fill in:") in shown or known.type != "error"


@pytest.mark.parametrize(("kind", "name"), [("recovery", "code/wrong-code"), ("verification", "code/sent-code")])
def test_a_mailed_code_can_be_asked_for_again_without_a_code(shared: Path, kind: str, name: str) -> None:
    page = draw(kind, flow_of(shared, f"{kind}/{name}"))
    code, again = page.all("form")
    assert code.one("input", name="code")["autocomplete"] == "one-time-code"
    assert code.one("input", name="code")["inputmode"] == "numeric"
    assert again.fields() == {"csrf_token": "masked", "method": "code"}
    assert (again.one("button")["name"], again.one("button")["value"]) == ("email", "dev@ory.dev")
    assert [each.text for each in page.one("main").all("strong")] == ["dev@ory.dev"]


def test_a_mailed_code_is_known_without_a_hint_of_the_contract(shared: Path) -> None:
    flow = flow_of(shared, "recovery/code/wrong-code")
    field = next(node["attributes"] for node in flow["ui"]["nodes"] if node["attributes"]["name"] == "code")
    del field["autocomplete"], flow["ui"]["messages"]
    drawn = draw("recovery", flow).one("input", name="code")
    assert (drawn["autocomplete"], drawn["inputmode"], drawn.has("autofocus")) == ("one-time-code", "numeric", True)


def test_an_address_can_be_filled_in_by_the_browser(shared: Path) -> None:
    field = draw("recovery", flow_of(shared, "recovery/code/missing-email")).one("input", name="email")
    assert (field["type"], field["autocomplete"], field["aria-invalid"]) == ("email", "email", "true")
    assert field.has("autofocus")


def test_a_confirmed_address_leads_on_by_a_link_and_without_a_form(shared: Path) -> None:
    flow = flow_of(shared, "verification/code/sent-code")
    link = {"href": "https://shop.test/", "title": CONTINUE, "id": "continue", "node_type": "a"}
    flow["ui"]["nodes"] = [
        {"type": "a", "group": "code", "attributes": link, "messages": [], "meta": {"label": CONTINUE}}
    ]
    page = draw("verification", {**flow, "state": "passed_challenge"}, language="de")
    assert page.one("main").all("form") == []
    assert page.one("a", href="https://shop.test/").text == "Weiter"
    assert page.one("h1").text == "Ihre Adresse ist bestätigt"


@pytest.mark.parametrize("kind", ["recovery", "verification"])
def test_the_title_says_the_state(shared: Path, kind: str) -> None:
    asked, sent = (draw(kind, flow_of(shared, f"{kind}/code/{name}")) for name in ("missing-email", "wrong-code"))
    assert asked.one("title").text != sent.one("title").text
    assert all(page.one("title").text.startswith("Mistake: ") for page in (asked, sent))
