"""Accounts at identity providers on the account page: what is linked, and the buttons that change it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from shopkeeper.http.pages.devices import Device
from shopkeeper.http.pages.forms import Form, forms_by_group
from shopkeeper.http.pages.linked_accounts import linked_accounts
from shopkeeper.identity.values import Identity, State
from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import Node, csrf_node, input_node
from tests.http.pages.reading import Element, read
from tests.http.pages.test_forms import TEMPLATES
from tests.http.pages.test_golden_forms import flow_of

NOW = datetime(2026, 3, 14, 15, 9, tzinfo=UTC)


def account_page(
    nodes: Sequence[Node], *, language: str = "en", provider: str | None = None, has_password: bool = True
) -> str:
    """Render the account page of a settings flow with these nodes, in a session that began at a provider."""
    forms = forms_by_group(nodes, action="/self-service/settings?flow=1", csrf_token="masked")
    device = Device("1", "Firefox · Linux", "", NOW, NOW, current=True, provider=provider)
    context = {
        "forms": forms,
        "first": None,
        "linked": linked_accounts(forms["oidc"].parts) if "oidc" in forms else (),
        "told": Form(action="", parts=()),
        "wrong": False,
        "devices": [device],
        "addresses": (),
        "has_password": has_password,
        "password_ended": False,
        "orders": [],
        "older": None,
        "newer": None,
        "confirms_addresses": False,
        "done": None,
        "flow": "1",
        "signed_in": ADA,
        "acting": False,
        "sign_out_link": "/self-service/logout?token=1",
        "csrf_token": "masked",
    }
    return TEMPLATES.render("account", context, language=language)


ADA = Identity(
    id=uuid4(),
    schema_id="default",
    state=State.ACTIVE,
    state_changed_at=NOW,
    traits={"email": "ada@example.org"},
    metadata_public=None,
    metadata_admin=None,
    external_id=None,
    verifiable_addresses=(),
    recovery_addresses=(),
    created_at=NOW,
    updated_at=NOW,
)


def button(name: str, value: str, label: str, **more: object) -> Node:
    number = {"link": 1050002, "unlink": 1050003}[name]
    return input_node(name, "submit", group="oidc", value=value, label=message(number, provider=label), **more)


def section(html: str) -> Element:
    return read(html).one("section", aria_labelledby="linked")


def test_every_provider_has_a_row_with_its_state_and_its_button(shared: Path) -> None:
    flow = flow_of(shared, "settings/oidc/with-provider")
    linked = section(account_page([Node.from_wire(node) for node in flow["ui"]["nodes"]]))
    rows = [(row.one("p", class_="strong").text, row.one("button")) for row in linked.all("li")]
    assert [(said, pressed["name"], pressed["value"], pressed["aria-label"]) for said, pressed in rows] == [
        ("Google linked", "unlink", "google", "Unlink Google"),
        ("FooBarLogo not linked", "link", "generic", "Link FooBarLogo"),
        ("GitHub not linked", "link", "github", "Link GitHub"),
    ]
    assert linked.one("form").fields() == {"csrf_token": "masked", "method": "oidc"}


def test_the_other_forms_of_the_account_stay_as_they_were(shared: Path) -> None:
    flow = flow_of(shared, "settings/oidc/with-provider")
    page = read(account_page([Node.from_wire(node) for node in flow["ui"]["nodes"]]))
    assert [heading["id"] for heading in page.all("h2")][:4] == ["who", "profile-heading", "linked", "password-heading"]


@pytest.mark.parametrize(
    ("language", "state", "pressed", "label"),
    [
        ("de", "Google verknüpft", "Lösen", "Verknüpfung mit Google lösen"),
        ("es", "Google vinculada", "Desvincular", "Desvincular Google"),
    ],
)
def test_states_and_buttons_are_in_the_readers_language(language: str, state: str, pressed: str, label: str) -> None:
    linked = section(account_page([csrf_node(), button("unlink", "google", "Google")], language=language))
    assert linked.one("p", class_="strong").text == state
    assert (linked.one("button").text, linked.one("button")["aria-label"]) == (pressed, label)


def test_several_accounts_at_one_provider_are_told_apart() -> None:
    nodes = [csrf_node(), *(button("unlink", f"shop-google:{subject}", "Google") for subject in ("17", "a:b"))]
    rows = section(account_page(nodes)).all("li")
    assert [row.one("p", class_="small").text for row in rows] == ["Its number there: 17", "Its number there: a:b"]
    assert [row.one("button")["aria-label"] for row in rows] == ["Unlink Google: 17", "Unlink Google: a:b"]


def test_the_last_way_in_says_why_it_stays() -> None:
    last = button("unlink", "google", "Google", disabled=True)
    row = section(account_page([csrf_node(), last])).one("li")
    assert row.one("button").has("disabled")
    assert row.one("p", id=row.one("button")["aria-describedby"]).text.startswith("This is your only way to sign in.")


def test_a_shop_without_providers_has_no_such_part() -> None:
    assert read(account_page([csrf_node()])).all("section", aria_labelledby="linked") == []


@pytest.mark.parametrize(
    ("language", "said"), [("en", "Signed in with Google, "), ("de", "Mit Google angemeldet am "), ("es", "con Google")]
)
def test_a_session_says_where_it_was_signed_in(language: str, said: str) -> None:
    page = read(account_page([csrf_node()], language=language, provider="shop-google"))
    assert said in page.one("section", aria_labelledby="devices").text
