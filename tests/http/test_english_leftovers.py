"""Whatever a German or Spanish shopper reads in JSON differs from what an English one reads at the same place.

A conversation is held in each language, with every operation of GraphQL, the storefront and the flows, right and wrong;
then every sentence is compared with the English one. What stays English is for programmers, by its code.
"""

import re
from collections.abc import Awaitable, Callable, Iterator
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import httpx2
import pytest

from shopkeeper.graphql.schema import core_schema
from shopkeeper.languages.choice import LANGUAGES
from shopkeeper.languages.refusals import FOR_PROGRAMMERS
from tests.attacks.scene import ADD, ORDER, PASSWORD, PLACE, SIGN_UP, Scene, ask, csrf_of, new_address
from tests.http.conftest import Opening

SENTENCES = {"message", "text", "reason"}
SETTINGS: dict[str, Any] = {
    "selfservice": {
        "flows": {name: {"enabled": True} for name in ("recovery", "verification")},
        "methods": {"code": {"enabled": True, "passwordless_enabled": True}, "link": {"enabled": True}},
    },
}
GRAPHQL_CODES = {code.upper() for code in FOR_PROGRAMMERS} | {"BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED"}

Spoken = list[tuple[str, int, Any]]
"""What was answered: the name of the request, the status and the body."""


class Talk:
    """Holds the conversation in one language."""

    def __init__(self, scene: Scene, language: str) -> None:
        self.scene, self.language = scene, language
        self.ip = f"203.0.113.{10 + LANGUAGES.index(language)}"
        self.spoken: Spoken = []
        self.fields: set[str] = set()

    async def note(self, name: str, coming: Awaitable[httpx2.Response]) -> Any:
        answer = await coming
        body = answer.json() if answer.content and "json" in answer.headers.get("content-type", "") else None
        self.spoken.append((name, answer.status_code, body))
        return body

    async def graphql(self, app: httpx2.AsyncClient, token: str | None, query: str, **variables: Any) -> Any:
        self.fields |= set(re.findall(r"^\s*(?:query|mutation)?[^{]*\{\s*(\w+)", query))
        headers = {"authorization": f"Bearer {token}"} if token else {}
        sent = app.post("/graphql", json={"query": query, "variables": variables}, headers=headers)
        return await self.note(f"{query} {sorted(variables)}", sent)


async def graphql(talk: Talk) -> None:
    app = await talk.scene.native(ip=talk.ip, accept_language=talk.language)
    guest = (await talk.note("visit", app.post("/signin", json={})))["authorization"]
    for query in (
        '{ findItemById(id: "1") { id } }',
        '{ findItemBySlug(slug: "no-such") { id } }',
        '{ findItemsByIds(ids: ["1"]) { total } }',
        '{ findItemsByCategory(categoryId: "1") { total } }',
        "{ findCategories { name } }",
        '{ findCategoriesByIds(ids: ["1"]) { id } }',
        '{ findCategoryById(id: "1") { id } }',
        '{ findCategoryBySlug(slug: "no-such") { id } }',
        '{ getCart(id: "nothing") { id } }',
        "{ getCurrentCustomer { id } }",
        "{ findOrders { total } }",
        '{ getOrderById(id: "nothing") { id } }',
        '{ getOrderByOrderNumber(orderNumber: "nothing") { id } }',
    ):
        await talk.graphql(app, guest, query)
        await talk.graphql(app, None, query)
    await talk.graphql(app, "shk_st_no_such_token", "{ getCurrentCustomer { id } }")
    too_long = "{ findItemsByKeyword(text: $text) { total } }"
    await talk.graphql(app, guest, f"query Q($text: String!) {too_long}", text="a" * 300)
    item = '{ findItemsByKeyword(text: "", limit: 1) { items { variants { itemId { id } } } } }'
    found = await talk.graphql(app, guest, item)
    variant = found["data"]["findItemsByKeyword"]["items"][0]["variants"][0]["itemId"]["id"]
    await talk.graphql(app, guest, 'mutation { createCart(createCartInput: {currency: "EUR"}) { message } }')
    added = "{ addToCart(addToCartInput: {itemId: $item, quantity: $many}) { message cart { id entries { id } } } }"
    for many in (1, 0, 1_000_000, 99):
        await talk.graphql(app, guest, f"mutation A($item: String!, $many: Int) {added}", item=variant, many=many)
    await talk.graphql(app, guest, f"mutation A($item: String!, $many: Int) {added}", item="nothing", many=1)
    email = new_address()
    new = {"email": email, "password": PASSWORD}
    for wrong in ({"password": "short"}, {"password": email}, {"email": "nonsense"}, {"email": ""}, {"title": "Dr"}):
        await talk.graphql(app, guest, SIGN_UP.replace("code", "message"), i={**new, **wrong})
    for _ in range(2):  # the second time the address is taken
        await talk.graphql(app, guest, SIGN_UP.replace("code", "message"), i=new)
    customer = (await talk.note("sign-in", app.post("/signin", json={"username": email, "password": PASSWORD})))[
        "authorization"
    ]
    await talk.graphql(app, customer, SIGN_UP.replace("code", "message"), i=new)
    cart = (await talk.graphql(app, customer, ADD.replace("code", "message"), item=variant, quantity=1))["data"][
        "addToCart"
    ]["cart"]["id"]
    line = (await talk.graphql(app, customer, "{ getCart { entries { id } } }"))["data"]["getCart"]["entries"][0]["id"]
    change = "{ updateCart(updateCartInput: {cartId: $cart, entryId: $line, quantity: $many}) { message } }"
    declared = "$cart: String!, $line: String, $many: Int"
    for many, entry in ((2, line), (-1, line), (1, "nothing"), (1, None)):
        await talk.graphql(app, customer, f"mutation U({declared}) {change}", cart=cart, line=entry, many=many)
    drafted = await talk.graphql(app, customer, ORDER.replace("code", "message"), cart=cart)
    for wrong_cart in ("nothing", cart):
        await talk.graphql(app, customer, ORDER.replace("code", "message"), cart=wrong_cart)
    order = drafted["data"]["checkOut"]["order"]["id"]
    await talk.graphql(app, customer, f"mutation U({declared}) {change}", cart=cart, line=line, many=3)
    await talk.graphql(app, customer, PLACE.replace("code", "message"), order=order)  # the cart has changed
    again = (await ask(app, customer, ORDER, cart=cart))["data"]["checkOut"]["order"]["id"]
    for chosen in ("nothing", again, again):
        await talk.graphql(app, customer, PLACE.replace("code", "message"), order=chosen)
    await talk.graphql(
        app, customer, f"mutation U({declared}) {change}", cart=cart, line=line, many=3
    )  # ordered already
    other = (await ask(app, customer, ADD, item=variant, quantity=1))["data"]["addToCart"]["cart"]["id"]
    taken = "{ removeFromCart(removeFromCartInput: {cartId: $cart, entryId: $line}) { message cart { id } } }"
    line = (await ask(app, customer, "{ getCart { entries { id } } }"))["data"]["getCart"]["entries"][0]["id"]
    for _ in range(2):
        await talk.graphql(app, customer, f"mutation R($cart: String!, $line: String) {taken}", cart=other, line=line)
    await talk.graphql(app, customer, ORDER.replace("code", "message"), cart=other)  # empty


async def storefront(talk: Talk) -> None:
    app = await talk.scene.native(ip=talk.ip, accept_language=talk.language)
    email = new_address()
    for sent in (
        {"type": "refresh"},
        {"type": "other"},
        {"password": PASSWORD},
        {"username": email},
        {"username": "", "password": ""},
        {"username": email, "password": ""},
        {"username": email, "password": PASSWORD},
        {"username": email, "password": "x" * 5_000},
        {"user": email},
    ):
        await talk.note(f"/signin {sorted(sent)}", app.post("/signin", json=sent))
    await talk.note("/signin form", app.post("/signin", data={"username": email}))
    await talk.note("/signin token", app.post("/signin", json={}, headers={"authorization": "Bearer shk_st_none"}))
    await talk.note("/signin store", app.post("/signin?store=nowhere", json={}))
    await talk.note("/signout", app.post("/signout", json={}, headers={"authorization": "Bearer shk_st_none"}))
    await talk.note("/signin get", app.get("/signin"))
    await talk.note("whoami", app.get("/sessions/whoami"))
    await talk.note("sessions", app.get("/sessions"))
    await talk.note("nowhere", app.get("/nowhere"))
    await talk.note("long", app.get("/nowhere?" + "a" * 20_000))
    await talk.note("large", app.get("/nowhere", headers={"x-filling": "a" * 70_000}))
    await talk.note("host", app.get("/nowhere", headers={"host": "not a host"}))


async def flows(talk: Talk) -> None:
    app = await talk.scene.native(ip=talk.ip, accept_language=talk.language)
    app.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # apps keep no cookies
    email = new_address()
    new = {"method": "password", "password": PASSWORD, "traits": {"email": email}}
    submissions: dict[str, list[dict[str, Any]]] = {
        "registration": [
            {},
            {"method": "nothing"},
            {"method": "password"},
            {**new, "password": "short"},
            {**new, "password": email},
            {**new, "traits": {"email": "nonsense"}},
            {**new, "traits": {"email": email, "shoe_size": 4}},
            {"method": "code", "traits": {"email": new_address()}},
            {"method": "profile", "traits": {"email": email}},
            new,
            new,
        ],
        "login": [
            {},
            {"method": "password"},
            {"method": "password", "identifier": email, "password": "not this one"},
            {"method": "code", "identifier": "nonsense"},
            {"method": "code", "identifier": email},
            {"method": "code", "identifier": email, "code": "000000"},
            {"method": "password", "identifier": email, "password": PASSWORD},
        ],
        "recovery": [
            {},
            {"method": "code"},
            {"method": "code", "email": "nonsense"},
            {"method": "code", "email": email},
            {"method": "code", "code": "000000"},
            {"method": "link", "email": email},
        ],
        "verification": [
            {},
            {"method": "code", "email": "nonsense"},
            {"method": "code", "email": email},
            {"method": "code", "code": "000000"},
            {"method": "link", "email": email},
        ],
    }
    for kind, sent in submissions.items():
        flow = await talk.note(f"open {kind}", app.get(f"/self-service/{kind}/api"))
        for number, fields in enumerate(sent):
            if "code" not in fields:  # a code belongs to the form that it was asked for with
                flow = (await app.get(f"/self-service/{kind}/api")).json()
            path = f"/self-service/{kind}?flow={flow['id']}"
            await talk.note(f"{kind} {number}", app.post(path, json=fields))
            await talk.note(f"fetch {kind} {number}", app.get(f"/self-service/{kind}/flows?id={flow['id']}"))
        await talk.note(f"{kind} without", app.post(f"/self-service/{kind}", json={}))
        await talk.note(f"{kind} unknown", app.get(f"/self-service/{kind}/flows?id={'0' * 8}"))
        await talk.note(f"{kind} unreadable", app.post(f"/self-service/{kind}?flow={flow['id']}", content=b"{"))
        late = await app.get(f"/self-service/{kind}/api")
        talk.scene.clock.advance(hours=2)
        await talk.note(f"{kind} late", app.post(f"/self-service/{kind}?flow={late.json()['id']}", json=sent[-1]))
    await settings(talk, app, email)
    await browser(talk, email)


async def settings(talk: Talk, app: httpx2.AsyncClient, email: str) -> None:
    await talk.note("settings nobody", app.get("/self-service/settings/api"))
    fields = {"method": "password", "identifier": email, "password": PASSWORD}
    login = (await app.get("/self-service/login/api")).json()["id"]
    answer = await app.post(f"/self-service/login?flow={login}", json=fields)
    assert answer.status_code == 200, list(sentences(answer.json()))[-3:]
    token = answer.json()["session_token"]
    mine = {"x-session-token": token}
    flow = await talk.note("open settings", app.get("/self-service/settings/api", headers=mine))
    path = f"/self-service/settings?flow={flow['id']}"
    for number, sent in enumerate(
        (
            {},
            {"method": "password"},
            {"method": "password", "password": "short"},
            {"method": "password", "password": PASSWORD},
            {"method": "profile", "traits": {"email": "nonsense"}},
            {"method": "profile", "traits": {"email": new_address()}},
            {"method": "password", "password": "another kettle on the shelf"},
        )
    ):
        await talk.note(f"settings {number}", app.post(path, json=sent, headers=mine))
    await talk.note("login again", app.get("/self-service/login/api", headers=mine))
    talk.scene.clock.advance(hours=2)
    flow = (await app.get("/self-service/settings/api", headers=mine)).json()
    path, last = f"/self-service/settings?flow={flow['id']}", {"method": "password", "password": "a third kettle here"}
    await talk.note("settings refresh", app.post(path, json=last, headers=mine))
    for body in ({"session_token": token}, {"session_token": token}, {}):
        await talk.note("logout", app.request("DELETE", "/self-service/logout/api", json=body))


async def browser(talk: Talk, email: str) -> None:
    page = await talk.scene.browser(ip=talk.ip, accept_language=talk.language)
    json_ = {"accept": "application/json"}
    flow = await page.open_flow("login")
    sent = {"method": "password", "identifier": email, "password": "not this one"}
    await talk.note("csrf", page.post(flow["ui"]["action"], json=sent, headers=json_))
    await talk.note(
        "browser", page.post(flow["ui"]["action"], json={**sent, "csrf_token": csrf_of(flow)}, headers=json_)
    )
    away = "/self-service/login/browser?return_to=https://evil.example/"
    await talk.note("return", page.get(away, headers=json_))
    await talk.note("aal2", page.get("/self-service/login/browser?aal=aal2", headers=json_))
    await talk.note("logout", page.get("/self-service/logout/browser", headers=json_))
    stranger = await talk.scene.browser(ip=talk.ip, accept_language=talk.language)
    await talk.note("another", stranger.get(f"/self-service/login/flows?id={flow['id']}", headers=json_))


PARTS: list[Callable[[Talk], Awaitable[None]]] = [graphql, storefront, flows]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
async def test_no_sentence_is_left_in_english(
    opening: Opening, sqlite_dsn: str, part: Callable[[Talk], Awaitable[None]]
) -> None:
    async with opening(sqlite_dsn, **SETTINGS) as scene:
        talks = {language: Talk(scene, language) for language in LANGUAGES}
        for talk in talks.values():
            await part(talk)
    english = talks.pop("en").spoken
    if part is graphql:
        schema = core_schema()
        roots = {*schema.query_type.fields, *schema.mutation_type.fields}  # type: ignore[union-attr]
        assert talks["de"].fields >= roots
    assert sum(1 for _, _, body in english for _ in sentences(body)) > 10
    for talk in talks.values():
        assert [(name, status) for name, status, _ in talk.spoken] == [(name, status) for name, status, _ in english]
        assert "\n".join(leftovers(english, talk.spoken)) == ""


def leftovers(english: Spoken, other: Spoken) -> Iterator[str]:
    for (name, _, ours), (_, _, theirs) in zip(english, other, strict=True):
        translated = dict(sentences(theirs))
        for place, sentence in sentences(ours):
            if translated.get(place) == sentence:
                yield f"{name}: {place}: {sentence}"


def sentences(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Return the sentences of a body by their place; without those that are for programmers by their code."""
    if isinstance(value, list):
        for number, each in enumerate(value):
            yield from sentences(each, f"{place}[{number}]")
    if not isinstance(value, dict):
        return
    for name, inner in value.items():
        if isinstance(inner, str) and name in SENTENCES and " " in inner and not _for_programmers(value, name):
            yield f"{place}.{name}", inner
        elif name != "context":  # the same in every language
            yield from sentences(inner, f"{place}.{name}")


def _for_programmers(value: dict[str, Any], name: str) -> bool:
    """Return whether a sentence beside an error code is for programmers: of Kratos' errors, what stands in `reason`."""
    extensions = value.get("extensions")
    if isinstance(extensions, dict):
        return extensions.get("code") in GRAPHQL_CODES
    return name == "reason" and value.get("code") == 400
