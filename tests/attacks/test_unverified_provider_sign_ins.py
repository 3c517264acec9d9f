"""Rows 74 and 75: where signing in needs a verified address, an account at a provider does not tell a taken one."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.flows.rejections import ANOTHER_ACCOUNT
from shopkeeper.identity.builder import NewIdentity
from shopkeeper.ui.messages import LINKED_TO_ANOTHER
from tests.attacks.scene import PASSWORD, Browser, new_address, written_schema
from tests.attacks.test_unverified_sign_ins import plain
from tests.credentials.social import SocialStage, social_stage
from tests.flows.watching import statements

LINK, SAVED = 1010016, 1050001
SignIn = Callable[..., Awaitable[httpx2.Response]]


FLOWS = {
    "registration": {"after": {"oidc": {"hooks": []}}},
    "login": {"after": {"oidc": {"hooks": [{"hook": "require_verified_address"}]}}},
    "verification": {"enabled": True},
}


@pytest.fixture
async def stage(dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[SocialStage]:
    async with social_stage(dsn, tmp_path, clock, selfservice={"flows": FLOWS}) as stage:
        yield stage


async def in_an_app(
    stage: SocialStage,
    email: str,
    *,
    kind: str = "login",
    verified: bool = False,
    subject: str | None = None,
    **fields: Any,
) -> httpx2.Response:
    app = await stage.scene.native()
    flow = (await app.get(f"/self-service/{kind}/api")).json()
    token = stage.id_token(subject=subject or f"s-{email}", email=email, email_verified=verified, jti=str(uuid4()))
    whole = {"method": "oidc", "provider": "idp", "id_token": token, "id_token_nonce": "n-1", **fields}
    return await app.post(flow["ui"]["action"], json=whole)


async def in_a_browser(
    stage: SocialStage, email: str, *, kind: str = "login", verified: bool = False
) -> httpx2.Response:
    browser = await stage.scene.browser()
    answer = await stage.arrive(browser, kind, subject=f"s-{email}", email=email, email_verified=verified)
    return await browser.get(answer.headers["location"])


async def addresses(stage: SocialStage) -> tuple[str, str]:
    """Return a free address, and one of an account."""
    free, taken = new_address("free"), new_address("taken")
    await stage.customer(taken, password=PASSWORD)
    return free, taken


@pytest.mark.parametrize("sign_in", [in_an_app, in_a_browser], ids=lambda each: each.__name__)
@pytest.mark.parametrize("kind", ["login", "registration"])
async def test_row_074_and_075_a_second_sign_in_is_answered_alike(
    stage: SocialStage, sign_in: SignIn, kind: str
) -> None:
    told = []
    for email in await addresses(stage):
        answers = [await sign_in(stage, email, kind=kind) for _ in range(3)]
        told.append([plain(answer, email) for answer in answers])
    assert told[0] == told[1]
    if sign_in is in_an_app:
        assert [status for status, *_ in told[0]] == [200, 403, 403]


async def test_row_075_it_takes_as_much_work(stage: SocialStage) -> None:
    told = []
    for email in await addresses(stage):
        seen = []
        for _ in range(3):
            with statements(stage.scene) as sent:
                await in_an_app(stage, email)
            seen.append(len(sent))
        told.append(seen)
    assert told[0][1:] == told[1][1:]


async def test_row_075_who_shows_the_address_at_the_provider_goes_on(stage: SocialStage) -> None:
    free, taken = await addresses(stage)
    for email in (free, taken):
        await in_an_app(stage, email)
    assert "session_token" in (await in_an_app(stage, free, verified=True)).json()
    asked = (await in_an_app(stage, taken, verified=True)).json()
    assert [each["id"] for each in asked["ui"]["messages"]] == [LINK]


async def test_row_075_no_subject_of_a_simulated_registration_is_stored(stage: SocialStage) -> None:
    _, taken = await addresses(stage)
    await in_an_app(stage, taken)
    [row] = await stage.scene.rows("simulated_registrations")
    assert f"s-{taken}" not in str(row)


async def signed_in(stage: SocialStage, email: str) -> Browser:
    browser = await stage.scene.browser()
    assert (await browser.sign_in(email)).status_code == 200
    return browser


async def linking(stage: SocialStage, browser: Browser, subject: str) -> Sequence[int]:
    """Link an account at the provider; return the ids of the messages that tell what came of it."""
    url = await stage.leave(browser, await browser.open_flow("settings"), link="idp")
    flow = await stage.flow_after(browser, await browser.get(stage.back(url, subject=subject)), "settings")
    return [each["id"] for each in flow["ui"]["messages"]]


async def test_row_075_linking_the_account_tells_no_taken_address(stage: SocialStage) -> None:
    mallory = new_address("mallory")
    await stage.customer(mallory, password=PASSWORD)
    told = []
    for email in await addresses(stage):
        await in_a_browser(stage, email)
        told.append(await linking(stage, await signed_in(stage, mallory), f"s-{email}"))
    assert told == [[LINKED_TO_ANOTHER], [LINKED_TO_ANOTHER]]


async def test_row_075_who_has_the_address_links_the_account(stage: SocialStage) -> None:
    _, taken = await addresses(stage)
    await in_a_browser(stage, taken)
    assert await linking(stage, await signed_in(stage, taken), f"s-{taken}") == [SAVED]


async def test_row_075_confirming_a_session_with_the_account_tells_no_taken_address(stage: SocialStage) -> None:
    mallory = new_address("mallory")
    await stage.customer(mallory, ("idp", mallory), password=PASSWORD)
    told = []
    for email in await addresses(stage):
        await in_a_browser(stage, email)
        browser = await signed_in(stage, mallory)
        answer = await stage.arrive(
            browser, query="?refresh=true", subject=f"s-{email}", email=email, email_verified=False
        )
        told.append([each["id"] for each in (await stage.flow_after(browser, answer))["ui"]["messages"]])
    assert told == [[ANOTHER_ACCOUNT], [ANOTHER_ACCOUNT]]


async def in_two_forms(stage: SocialStage, email: str, other: str) -> Sequence[httpx2.Response]:
    """Open two registrations with one account at the provider, which tells no address; complete the first one with
    `email`, the second one with `other`."""
    opened = []
    for _ in range(2):
        browser = await stage.scene.browser()
        answer = await stage.arrive(browser, "registration", subject=f"s-{email}")
        opened.append((browser, await stage.flow_after(browser, answer, "registration")))
    return [
        await stage.submit(browser, flow, provider="idp", traits={"email": typed})
        for (browser, flow), typed in zip(opened, (email, other), strict=True)
    ]


async def test_row_075_two_registrations_with_one_account_are_answered_alike(stage: SocialStage) -> None:
    told, mailed = [], []
    for email in await addresses(stage):
        other = new_address("other")
        told.append([plain(answer, email) for answer in await in_two_forms(stage, email, other)])
        mailed += [mail for mail in await stage.scene.mails() if mail.recipient == other]
    assert told[0] == told[1]
    assert mailed == []


async def test_row_075_no_mailbox_is_told_of_an_account_that_it_does_not_have(
    dsn: str, tmp_path: Path, clock: StoppedClock
) -> None:
    flows = {"registration": {"after": {"oidc": {"hooks": []}}}}
    async with social_stage(dsn, tmp_path, clock, selfservice={"flows": flows}) as stage:
        email, other = new_address("free"), new_address("other")
        for answer in await in_two_forms(stage, email, other):
            assert answer.status_code == 200, answer.text
        assert other not in [mail.recipient for mail in await stage.scene.mails()]


async def test_row_075_an_account_registers_once_the_taken_address_is_free(stage: SocialStage) -> None:
    taken, other = new_address("taken"), new_address("other")
    owner = await stage.customer(taken, password=PASSWORD)
    for _ in range(2):
        await in_an_app(stage, taken)
    assert (await in_an_app(stage, other, subject=f"s-{taken}", verified=True)).status_code == 403
    async with stage.scene.application.infrastructure.database.unit() as unit:
        await stage.identities.delete(unit, owner.id, actor="admin")
    registered = await in_an_app(stage, other, subject=f"s-{taken}", verified=True)
    assert registered.json()["identity"]["traits"] == {"email": other}
    assert "session_token" in (await in_an_app(stage, other, subject=f"s-{taken}", verified=True)).json()


async def test_row_075_an_account_that_meets_another_taken_address_is_remembered_anew(stage: SocialStage) -> None:
    free, taken = await addresses(stage)
    first = new_address("first")
    owner = await stage.customer(first, password=PASSWORD)
    await in_an_app(stage, first)
    async with stage.scene.application.infrastructure.database.unit() as unit:
        await stage.identities.delete(unit, owner.id, actor="admin")
    answers = [await in_an_app(stage, taken, subject=f"s-{first}") for _ in range(3)]
    expected = [await in_an_app(stage, free) for _ in range(3)]
    assert [plain(each, taken) for each in answers] == [plain(each, free) for each in expected]


async def test_row_075_a_user_name_that_is_taken_is_not_told_by_a_later_one(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
) -> None:
    """The address beside it is free all the time."""
    traits = {
        "name": {"type": "string", "ory.sh/kratos": {"credentials": {"password": {"identifier": True}}}},
        "email": {"type": "string", "format": "email", "ory.sh/kratos": {"verification": {"via": "email"}}},
    }
    schema = {"default_schema_id": "default", "schemas": [{"id": "default", "url": written_schema(tmp_path, traits)}]}
    async with social_stage(sqlite_dsn, tmp_path, clock, identity=schema, selfservice={"flows": FLOWS}) as stage:
        hers = {"name": "grace", "email": new_address("hers")}
        async with stage.scene.application.infrastructure.database.unit() as unit:
            await stage.identities.create(unit, NewIdentity(traits=hers))
        told = []
        for name in ("ada", "grace"):
            mine = new_address("mine")
            answers = [
                await in_an_app(stage, mine, kind="registration", traits={"name": typed, "email": mine})
                for typed in (name, f"{name}-2", f"{name}-3")
            ]
            told.append([plain(answer, mine) for answer in answers])
        assert told[0][1:] == told[1][1:]
        assert [status for status, *_ in told[1]] == [200, 403, 403]
