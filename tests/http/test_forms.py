"""Forms as HTML sends them."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

import httpx2

from shopkeeper.clock import StoppedClock
from shopkeeper.http.requests import FORM
from tests.attacks.scene import PASSWORD, csrf_of, new_address, opened

EMAIL = {"type": "string", "format": "email", "ory.sh/kratos": {"credentials": {"password": {"identifier": True}}}}
TRAITS = {"emails": {"type": "array", "items": EMAIL}, "nick": {"type": "string"}, "newsletter": {"type": "boolean"}}

Send = Callable[..., Awaitable[httpx2.Response]]


@asynccontextmanager
async def registering(dsn: str, folder: Path, clock: StoppedClock) -> AsyncIterator[Send]:
    """Open a browser with a form; yield the function that sends the form's fields."""
    schema = folder / "schema.json"
    schema.write_text(json.dumps({"properties": {"traits": {"type": "object", "properties": TRAITS}}}))
    identity = {"default_schema_id": "many", "schemas": [{"id": "many", "url": schema.as_uri()}]}
    async with opened(dsn, folder, clock, settings={"identity": identity}) as scene:
        browser = await scene.browser()
        flow = await browser.open_flow("registration")

        async def send(*fields: tuple[str, str]) -> httpx2.Response:
            body = urlencode([("csrf_token", csrf_of(flow)), ("method", "password"), *fields])
            headers = {"accept": "application/json", "content-type": FORM}
            return await browser.post(flow["ui"]["action"], content=body, headers=headers)

        yield send


async def test_a_name_that_is_sent_twice_is_a_list_where_the_schema_has_one(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
) -> None:
    """Regression: all but the last were lost, so an account had one address of two."""
    emails = [new_address() for _ in range(2)]
    twice = [("traits.emails", email) for email in emails]
    texts = [("traits.nick", "ada"), ("traits.nick", "countess")]
    boxes = [("traits.newsletter", "false"), ("traits.newsletter", "true")]
    async with registering(sqlite_dsn, tmp_path, clock) as send:
        answer = await send(("password", PASSWORD), *twice, *texts, *boxes)
    assert answer.status_code == 200, answer.text
    assert answer.json()["identity"]["traits"] == {"emails": emails, "nick": "countess", "newsletter": True}


async def test_a_name_that_is_sent_twice_is_shown_again_with_its_last_value(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
) -> None:
    async with registering(sqlite_dsn, tmp_path, clock) as send:
        answer = await send(("password", ""), ("traits.nick", "ada"), ("traits.nick", "countess"))
    assert answer.status_code == 400, answer.text
    values = {node["attributes"]["name"]: node["attributes"].get("value") for node in answer.json()["ui"]["nodes"]}
    assert values["traits.nick"] == "countess"
