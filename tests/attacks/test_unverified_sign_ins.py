"""Rows 74 and 75: where signing in needs a verified address, neither registering nor signing in tells a taken one."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2
import pytest

from tests.attacks.conftest import Opening
from tests.attacks.scene import (
    HERE,
    PASSWORD,
    SIGN_UP,
    THERE,
    Scene,
    ask,
    csrf_of,
    new_address,
    sign_in,
    submit,
    visit,
    written_schema,
)
from tests.flows.watching import statements

OTHER = "a saucer under the elm tree"
WRONG = "a spoon behind the oak door"


def selfservice(*, session: bool = False) -> dict[str, Any]:
    def hooks(*names: str) -> dict[str, Any]:
        return {"after": {"password": {"hooks": [{"hook": name} for name in names]}}}

    return {
        "methods": {"code": {"enabled": True}},
        "flows": {
            "registration": hooks("session") if session else hooks(),
            "login": hooks("require_verified_address"),
            "verification": {"enabled": True},
            "recovery": {"enabled": True},
        },
    }


@pytest.fixture
async def strict(opening: Opening, dsn: str) -> AsyncIterator[Scene]:
    budgets = {name: {"per_ip": "1000/minute"} for name in ("login", "registration", "code")}
    async with opening(dsn, selfservice=selfservice(), throttle=budgets) as scene:
        yield scene


async def by_form(scene: Scene, email: str, password: str) -> httpx2.Response:
    app = await scene.native()
    return await submit(app, "registration", {"method": "password", "password": password, "traits": {"email": email}})


async def by_graphql(scene: Scene, email: str, password: str) -> dict[str, Any]:
    app = await scene.native()
    token = (await visit(app))["authorization"]
    return await ask(app, token, SIGN_UP, i={"email": email, "password": password})


async def in_an_app(scene: Scene, email: str, password: str) -> httpx2.Response:
    return await sign_in(await scene.native(), email, password)


async def in_a_single_page_app(scene: Scene, email: str, password: str) -> httpx2.Response:
    browser = await scene.browser()
    return await browser.send_flow(await browser.open_flow("login"), {"identifier": email, "password": password})


async def on_a_page(scene: Scene, email: str, password: str) -> httpx2.Response:
    browser = await scene.browser()
    flow = await browser.open_flow("login")
    form = {"method": "password", "identifier": email, "password": password, "csrf_token": csrf_of(flow)}
    answer = await browser.post(flow["ui"]["action"], data=form)
    return await browser.get(answer.headers["location"])


async def at_the_storefront(scene: Scene, email: str, password: str) -> httpx2.Response:
    return await (await scene.native()).post("/signin", json={"username": email, "password": password})


SignIn = Callable[[Scene, str, str], Awaitable[httpx2.Response]]
EVERYWHERE = (in_an_app, in_a_single_page_app, on_a_page, at_the_storefront)


def plain(answer: httpx2.Response, email: str) -> tuple[int, str, str]:
    """Return status, kind of refusal and body, without what differs between any two answers."""
    text = answer.text.replace(email, "<email>")
    text = re.sub(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", "<id>", text)
    text = re.sub(r'(csrf_token"[^>]*?value="?:?)[^">]+', r"\1", text)
    return (
        answer.status_code,
        answer.headers.get("x-error-code", ""),
        re.sub(r'nonce="?[^" ]+|"value":"[^"]{80,}"', "", text),
    )


async def taken_address(scene: Scene, *, verified: bool) -> str:
    """Return the address of an account whose owner knows the password."""
    email = new_address("taken")
    await by_form(scene, email, PASSWORD)
    if verified:
        admin = await scene.admin()
        [identity] = (await admin.get(f"/admin/identities?credentials_identifier={email}")).json()
        patch = [{"op": "replace", "path": "/verifiable_addresses/0/verified", "value": True}]
        answer = await admin.patch(f"/admin/identities/{identity['id']}", json=patch)
        assert answer.status_code == 200, answer.text
    return email


@pytest.mark.parametrize("register", [by_form, by_graphql], ids=lambda each: each.__name__)
async def test_row_074_the_password_of_a_registration_is_answered_alike_at_every_door(
    strict: Scene, register: Callable[[Scene, str, str], Awaitable[Any]]
) -> None:
    addresses = [
        new_address("free"),
        await taken_address(strict, verified=True),
        await taken_address(strict, verified=False),
    ]
    for email in addresses:
        await register(strict, email, OTHER)
    for attempt in EVERYWHERE:
        for password, status in ((OTHER, 403), (WRONG, 400)):
            free, *taken = [plain(await attempt(strict, email, password), email) for email in addresses]
            assert taken == [free, free], attempt.__name__
            if attempt is in_an_app:
                assert free[0] == status


async def test_row_075_it_is_answered_alike_however_often_and_after_as_much_work(strict: Scene) -> None:
    """Neither is blocked, and neither clears the failures of guesses at the same address."""
    told = []
    for email, ip in ((new_address("free"), HERE), (await taken_address(strict, verified=True), THERE)):
        await by_form(strict, email, OTHER)
        await strict.mails()
        seen = []
        for password in (*[OTHER] * 8, *[WRONG, OTHER] * 4, WRONG, OTHER):
            app = await strict.native(ip=ip)
            with statements(strict) as sent:
                answer = await sign_in(app, email, password)
            seen.append((plain(answer, email)[:2], len(sent)))
        told.append(seen)
    assert told[0] == told[1]
    assert [status for (status, _), _ in told[0]] == [403] * 8 + [400, 403] * 4 + [400, 429]


async def test_row_075_the_owner_of_a_taken_address_gets_no_mail_of_a_code_that_nobody_can_use(strict: Scene) -> None:
    email = await taken_address(strict, verified=True)
    await strict.mails()
    before = len(await strict.waiting_mails())
    await by_form(strict, email, OTHER)
    refused = await in_an_app(strict, email, OTHER)
    [action] = refused.json()["error"]["details"]["continue_with"]
    assert action["flow"]["verifiable_address"] == email
    sent = (await strict.mails())[: len(await strict.waiting_mails()) - before]
    assert [mail.template_type for mail in sent] == ["sign_up_attempt"]
    assert (await in_an_app(strict, email, PASSWORD)).status_code == 200


async def test_row_075_a_name_beside_the_address_is_answered_alike_too(
    opening: Opening, sqlite_dsn: str, tmp_path: Any
) -> None:
    """Signing in with a user name names the address that was registered, whether that is taken or not."""
    marks = {"credentials": {"password": {"identifier": True}}}
    traits = {
        "name": {"type": "string", "ory.sh/kratos": marks},
        "email": {"type": "string", "format": "email", "ory.sh/kratos": {"verification": {"via": "email"}}},
    }
    schema = {"default_schema_id": "default", "schemas": [{"id": "default", "url": written_schema(tmp_path, traits)}]}
    async with opening(sqlite_dsn, identity=schema, selfservice=selfservice()) as scene:
        told = []
        for name in ("ada", "grace"):
            app, mine = await scene.native(), new_address("mine")
            if name == "grace":
                other = {"name": "grace", "email": new_address("hers")}
                owner = await scene.native(ip=THERE)
                await submit(owner, "registration", {"method": "password", "password": PASSWORD, "traits": other})
            traits_of = {"name": name, "email": mine}
            await submit(app, "registration", {"method": "password", "password": OTHER, "traits": traits_of})
            told.append(plain(await sign_in(app, name, OTHER), mine))
        assert told[0] == told[1]
        assert told[0][0] == 403


async def test_row_075_passwords_of_simulated_registrations_are_not_stored(strict: Scene) -> None:
    email = await taken_address(strict, verified=True)
    await by_form(strict, email, OTHER)
    [row] = await strict.rows("simulated_registrations")
    assert OTHER not in str(row)
    assert email not in str(row)
    assert len(row["digest"]) == 32


async def test_row_075_without_mitigation_nothing_is_remembered(opening: Opening, sqlite_dsn: str) -> None:
    open_ = {"account_enumeration": {"mitigate": False}}
    async with opening(sqlite_dsn, selfservice=selfservice(), security=open_) as scene:
        email = new_address()
        await by_form(scene, email, PASSWORD)
        assert (await by_form(scene, email, OTHER)).status_code == 400
        assert (await in_an_app(scene, email, OTHER)).status_code == 400
        assert (await in_an_app(scene, email, PASSWORD)).status_code == 403
        assert await scene.rows("simulated_registrations") == []
