"""How many SQL statements a submission takes, counted where the storage sends them, on both kinds of database.

A story submits forms and names each submission. `MOST` is the table of all of them: a submission that takes more
statements than its row allows fails with the statements it took. Begin and commit are not counted, nor is the delivery
of mails.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import (
    OWN_PAGE,
    PASSWORD,
    THERE,
    Scene,
    fill_cart,
    new_address,
    opened,
    sign_in,
    sign_up,
    visit,
)
from tests.credentials.social import SocialStage, social_stage
from tests.flows.watching import statements

SETTINGS: Mapping[str, Any] = {
    "selfservice": {
        "methods": {"code": {"enabled": True, "passwordless_enabled": True}},
        "flows": {
            "recovery": {"enabled": True, "use": "code"},
            "verification": {"enabled": True, "use": "code"},
            "registration": {"after": {"code": {"hooks": [{"hook": "session"}]}}},
        },
    }
}
MOST: Mapping[str, int] = {
    "login with a password, known device": 8,
    "login with a password, new device": 9,
    "login with a password, a guest without a cart": 10,
    # The embedded engine merges the cart in the same transaction.
    "login with a password, a guest with a cart": 19,
    "login with a code: the code is asked for": 5,
    "login with a code: a wrong code is given": 4,
    "login with a code: the code is given, first proof of the address": 10,
    "login with a code: the code is given, known device": 7,
    "login with a code: the code is given, new device": 8,
    "recovery with a code: the code is asked for": 5,
    "recovery with a code: a wrong code is given": 4,
    "recovery with a code: the code is given, first proof of the address": 10,
    "recovery with a code: the code is given": 8,
    "verification with a code: the code is asked for": 5,
    "verification with a code: a wrong code is given": 4,
    "verification with a code: the code is given": 8,
    "registration with a code: the code is asked for": 5,
    "registration with a code: a wrong code is given": 4,
    "registration with a code: the code is given": 9,
    "registration with a password": 9,
    "settings: a name": 8,
    "settings: a password": 10,
    "settings: an address": 10,
}
MOST_ON_SQLITE: Mapping[str, int] = {
    **MOST,
    "login with a password, a guest with a cart": 16,
    "login with a code: the code is asked for": 6,
    "login with a code: the code is given, first proof of the address": 11,
    "recovery with a code: the code is asked for": 6,
    "recovery with a code: the code is given, first proof of the address": 12,
    "verification with a code: the code is asked for": 7,
    "verification with a code: the code is given": 9,
    "registration with a code: the code is asked for": 6,
    "registration with a code: the code is given": 15,
    "registration with a password": 17,
    "settings: a password": 11,
    "settings: an address": 22,
}
"""The rows of an identity are one statement for each table there (`storage/row_changes.py`), without a round trip."""
OTHER_DEVICE = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
STEPS = "a wrong code is given", "the code is given"
CODE = re.compile(r"\b\d{6}\b")


@dataclass
class Counting:
    """An application, and the statements that each named submission has taken; the most of those with one name."""

    scene: Scene
    taken: dict[str, list[str]] = field(default_factory=dict)

    async def submit(
        self, named: str, app: httpx2.AsyncClient, kind: str, flow: str, *, status: int = 200, **fields: Any
    ) -> dict[str, Any]:
        """Submit a native flow, which must be answered with this status; return the answer."""
        with self.counted(named):
            answer = await app.post(f"/self-service/{kind}?flow={flow}", json=fields)
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    @contextmanager
    def counted(self, named: str) -> Iterator[None]:
        """Keep the statements of the block under a name."""
        with statements(self.scene) as seen:
            yield
        counted = [each for each in seen if not each.startswith("BEGIN")]
        self.taken[named] = max(counted, self.taken.get(named, []), key=len)

    async def open(self, app: httpx2.AsyncClient, kind: str) -> str:
        """Open a native flow; return its id."""
        return str((await app.get(f"/self-service/{kind}/api")).json()["id"])

    async def code_for(self, address: str) -> str:
        """Return the code of the newest mail for an address."""
        newest = next(mail for mail in await self.scene.mails() if mail.recipient == address)
        found = CODE.search(f"{newest.subject} {newest.body}")
        assert found is not None
        return found.group()

    async def account(self, app: httpx2.AsyncClient) -> str:
        """Register, and sign in once more; return the address of the account, whose first mails are sent."""
        email = new_address()
        await sign_up(app, email)
        self.scene.clock.advance(hours=1)
        assert (await sign_in(app, email)).status_code == 200
        await self.scene.mails()
        self.scene.clock.advance(hours=1)
        return email


async def sign_in_with_a_password(counting: Counting) -> None:
    app = await counting.scene.native()
    elsewhere = await counting.scene.native(ip=THERE, user_agent=OTHER_DEVICE)
    proof = {"method": "password", "identifier": await counting.account(app), "password": PASSWORD}
    for named, client in (("known device", app), ("new device", elsewhere)):
        flow = await counting.open(client, "login")
        await counting.submit(f"login with a password, {named}", client, "login", flow, **proof)


async def sign_in_as_a_guest(counting: Counting) -> None:
    email = await counting.account(await counting.scene.native())
    for named, has_cart in (("a guest without a cart", False), ("a guest with a cart", True)):
        browser = await counting.scene.browser(accept_language="de")
        browser.headers.update(OWN_PAGE)
        visitor = await visit(browser)
        if has_cart:
            await fill_cart(browser, visitor["authorization"])
        flow = await browser.open_flow("login")
        with counting.counted(f"login with a password, {named}"):
            answer = await browser.send_flow(flow, {"identifier": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        assert ("cart" in answer.json()) is has_cart
        counting.scene.clock.advance(hours=1)


async def sign_in_with_a_code(counting: Counting) -> None:
    app = await counting.scene.native()
    elsewhere = await counting.scene.native(ip=THERE, user_agent=OTHER_DEVICE)
    asked = {"method": "code", "identifier": await counting.account(app)}
    for which, client in (("first proof of the address", app), ("known device", app), ("new device", elsewhere)):
        flow = await counting.open(client, "login")
        first, wrong, right = (f"login with a code: {step}" for step in ("the code is asked for", *STEPS))
        await counting.submit(first, client, "login", flow, status=400, **asked)
        code = await counting.code_for(asked["identifier"])
        other = f"{(int(code) + 1) % 10**6:06d}"
        await counting.submit(wrong, client, "login", flow, status=400, **asked, code=other)
        await counting.submit(f"{right}, {which}", client, "login", flow, **asked, code=code)
        counting.scene.clock.advance(hours=1)


async def give_codes(
    counting: Counting, app: httpx2.AsyncClient, kind: str, asked: Mapping[str, Any], which: str
) -> None:
    """Ask for a code, give a wrong one, and the right one."""
    [address] = [value.get("email") if isinstance(value, Mapping) else value for value in asked.values()]
    flow, sends_again = await counting.open(app, kind), asked if kind == "registration" else {}
    status = {"registration": 400}.get(kind, 200)
    first, wrong, right = (f"{kind} with a code: {step}" for step in ("the code is asked for", *STEPS))
    await counting.submit(first, app, kind, flow, status=status, method="code", **asked)
    code = await counting.code_for(address)
    other = f"{(int(code) + 1) % 10**6:06d}"
    await counting.submit(wrong, app, kind, flow, status=status, method="code", **sends_again, code=other)
    status = {"recovery": 422}.get(kind, 200)
    await counting.submit(right + which, app, kind, flow, status=status, method="code", **sends_again, code=code)


async def recover_with_a_code(counting: Counting) -> None:
    app = await counting.scene.native()
    asked = {"email": await counting.account(app)}
    await give_codes(counting, app, "recovery", asked, ", first proof of the address")
    counting.scene.clock.advance(hours=1)
    await give_codes(counting, app, "recovery", asked, "")


async def verify_with_a_code(counting: Counting) -> None:
    app = await counting.scene.native()
    await give_codes(counting, app, "verification", {"email": await counting.account(app)}, "")


async def register_with_a_code(counting: Counting) -> None:
    await give_codes(counting, await counting.scene.native(), "registration", {"traits": {"email": new_address()}}, "")


async def register_with_a_password(counting: Counting) -> None:
    app = await counting.scene.native()
    flow = await counting.open(app, "registration")
    fields = {"method": "password", "password": PASSWORD, "traits": {"email": new_address()}}
    await counting.submit("registration with a password", app, "registration", flow, **fields)


async def change_the_account(counting: Counting) -> None:
    app = await counting.scene.native()
    session = await sign_up(app, email := new_address())
    app.headers["x-session-token"] = session["session_token"]
    for what, fields in (
        ("a name", {"method": "profile", "traits": {"email": email, "name": {"first": "Ada"}}}),
        ("a password", {"method": "password", "password": f"not {PASSWORD}"}),
        ("an address", {"method": "profile", "traits": {"email": new_address(), "name": {"first": "Ada"}}}),
    ):
        flow = await counting.open(app, "settings")
        await counting.submit(f"settings: {what}", app, "settings", flow, **fields)


STORIES: tuple[Callable[[Counting], Awaitable[None]], ...] = (
    sign_in_with_a_password,
    sign_in_as_a_guest,
    sign_in_with_a_code,
    recover_with_a_code,
    verify_with_a_code,
    register_with_a_code,
    register_with_a_password,
    change_the_account,
)


@pytest.fixture
async def counting(tmp_path: Path, clock: StoppedClock, dsn: str) -> AsyncIterator[Counting]:
    async with opened(dsn, tmp_path, clock, settings=SETTINGS) as scene:
        yield Counting(scene)


async def test_no_submission_takes_more_statements_than_its_row_allows(counting: Counting) -> None:
    for story in STORIES:
        await story(counting)
    assert counting.taken.keys() == MOST.keys()
    most = MOST if counting.scene.application.infrastructure.database.kind == "postgresql" else MOST_ON_SQLITE
    over = {named: seen for named, seen in counting.taken.items() if len(seen) > most[named]}
    assert not over, "\n".join(f"{named} takes {len(seen)}:\n  " + "\n  ".join(seen) for named, seen in over.items())


# -- social sign-in ----------------------------------------------------------------------------------------------------

MOST_FOR_SOCIAL: Final = 12
"""Of leaving for a provider and coming back together, on PostgreSQL."""
MOST_FOR_SOCIAL_ON_SQLITE: Final = 20


@pytest.fixture
async def social(tmp_path: Path, clock: StoppedClock, dsn: str) -> AsyncIterator[SocialStage]:
    async with social_stage(dsn, tmp_path, clock) as stage:
        yield stage


async def test_social_sign_ins_take_twelve_statements_at_most(social: SocialStage) -> None:
    """Leaving and coming back: a registration, a sign-in from the same device, and one from another."""
    counting, email = Counting(social.scene), new_address()
    home, elsewhere = await social.scene.browser(), await social.scene.browser(ip=THERE, user_agent=OTHER_DEVICE)
    for named, browser, kind in (
        ("a registration", home, "registration"),
        ("a registration in a login", home, "login"),
        ("a known device", home, "login"),
        ("a new device", elsewhere, "login"),
    ):
        subject = "bea" if named == "a registration in a login" else "alice"
        claims = {"subject": subject, "email": f"{subject}-{email}", "email_verified": True}
        browser.cookies.clear()
        flow = await browser.open_flow(kind)
        with counting.counted(named):
            url = await social.leave(browser, flow, provider="idp")
            answer = await browser.get(social.back(url, **claims))
        assert answer.status_code == 303, answer.text
        assert await browser.whoami() is not None
        social.scene.clock.advance(hours=1)
    is_postgres = social.scene.application.infrastructure.database.kind == "postgresql"
    most = MOST_FOR_SOCIAL if is_postgres else MOST_FOR_SOCIAL_ON_SQLITE
    over = {named: seen for named, seen in counting.taken.items() if len(seen) > most}
    assert not over, "\n".join(f"{named} takes {len(seen)}:\n  " + "\n  ".join(seen) for named, seen in over.items())


MOST_OF_THE_EXCHANGE: Final = 8
"""Beside the sign-in and the cart of a guest: the callback is kept and taken; the flow, its codes, the session and its
lock, its token, the audit event."""


async def test_sign_ins_of_apps_take_as_many_and_their_exchange_few(social: SocialStage) -> None:
    counting, email = Counting(social.scene), new_address()
    app, webview = await social.scene.native(), await social.scene.browser()
    for named in ("a registration", "a known device"):
        query = "return_session_token_exchange_code=true&return_to=https://app.test/"
        flow = (await app.get(f"/self-service/login/api?{query}")).json()
        with counting.counted(named):
            url = await social.leave(app, flow, provider="idp")
            answer = await webview.get(social.back(url, email=email, email_verified=True))
            codes = {"init_code": flow["session_token_exchange_code"], "return_to_code": query_of(answer)["code"]}
            assert (await app.get("/sessions/token-exchange", params=codes)).status_code == 200
        social.scene.clock.advance(hours=1)
    is_postgres = social.scene.application.infrastructure.database.kind == "postgresql"
    most = MOST_OF_THE_EXCHANGE + (MOST_FOR_SOCIAL if is_postgres else MOST_FOR_SOCIAL_ON_SQLITE)
    over = {named: seen for named, seen in counting.taken.items() if len(seen) > most}
    assert not over, "\n".join(f"{named} takes {len(seen)}:\n  " + "\n  ".join(seen) for named, seen in over.items())


def query_of(answer: httpx2.Response) -> Mapping[str, str]:
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))
