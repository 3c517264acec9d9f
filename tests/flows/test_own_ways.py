"""The second of two login forms: without mitigation of enumeration it has the ways of the account that was named."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import PASSWORD
from tests.credentials.social import SocialStage, social_stage

ADA, UNKNOWN = "ada@example.org", 4000037
EVERY = [("oidc", "idp"), ("oidc", "other"), ("password", "password")]


def stepwise(*, mitigate: bool = False, **methods: Any) -> dict[str, Any]:
    return {
        "selfservice": {"flows": {"login": {"style": "identifier_first"}}, "methods": methods},
        "security": {"account_enumeration": {"mitigate": mitigate}},
    }


async def ways(stage: SocialStage, identifier: str = ADA) -> Sequence[tuple[str, str]] | int:
    """Return the ways of the second form, or the id of the message at the identifier."""
    browser = await stage.scene.browser()
    flow = await browser.open_flow("login")
    answer = await browser.send_flow(flow, {"method": "identifier_first", "identifier": identifier})
    nodes = answer.json()["ui"]["nodes"]
    told = [message["id"] for node in nodes for message in node["messages"]]
    buttons = [node for node in nodes if node["attributes"].get("type") == "submit"]
    shown = [(node["group"], node["attributes"]["value"]) for node in buttons]
    return told[0] if told else shown


class TestWithoutMitigation:
    async def test_has_what_the_account_has(self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> None:
        async with social_stage(sqlite_dsn, tmp_path, clock, **stepwise()) as stage:
            await stage.customer(ADA, ("other", "ada"))
            await stage.customer("bea@example.org", password=PASSWORD)
            await stage.customer("cyd@example.org", ("idp", "cyd"), ("other", "cyd"), password=PASSWORD)
            await stage.customer("dan@example.org", ("gone", "dan"))
            assert await ways(stage) == [("oidc", "other")]
            assert await ways(stage, "ADA@example.org ") == [("oidc", "other")]
            assert await ways(stage, "bea@example.org") == [("password", "password")]
            assert await ways(stage, "cyd@example.org") == EVERY
            assert await ways(stage, "dan@example.org") == UNKNOWN, "its provider was taken out of the settings"
            assert await ways(stage, "nobody@example.org") == UNKNOWN
            assert await ways(stage, "") == UNKNOWN

    async def test_an_account_without_any_way_is_told_so(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        async with social_stage(sqlite_dsn, tmp_path, clock, **stepwise()) as stage:
            await stage.customer(ADA)
            assert await ways(stage) == UNKNOWN, "it has no way to sign in, as the message says"

    async def test_a_shop_with_providers_alone_finds_its_customers(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        alone = stepwise(password={"enabled": False})
        async with social_stage(sqlite_dsn, tmp_path, clock, **alone) as stage:
            await stage.customer(ADA, ("idp", "ada"))
            assert await ways(stage) == [("oidc", "idp")]

    async def test_the_button_leads_to_the_provider(self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> None:
        async with social_stage(sqlite_dsn, tmp_path, clock, **stepwise()) as stage:
            ada = await stage.customer(ADA, ("idp", "alice"))
            browser = await stage.scene.browser()
            first = await browser.open_flow("login")
            second = await browser.send_flow(first, {"method": "identifier_first", "identifier": ADA})
            await browser.get(stage.back(await stage.leave(browser, second.json(), provider="idp")))
            assert await browser.whoami() == str(ada.id)


@pytest.mark.parametrize("identifier", [ADA, "nobody@example.org"])
async def test_row_075_with_mitigation_it_has_every_way_for_everybody(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, identifier: str
) -> None:
    async with social_stage(sqlite_dsn, tmp_path, clock, **stepwise(mitigate=True)) as stage:
        await stage.customer(ADA, ("other", "ada"))
        assert await ways(stage, identifier) == EVERY
