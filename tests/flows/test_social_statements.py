"""How many SQL statements leaving for a provider and coming back take where no sign-in follows."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import PASSWORD
from tests.credentials.social import SocialStage, social_stage
from tests.flows.watching import statements

MOST = 12
ADA = "ada@example.org"


@pytest.fixture
async def stage(postgres_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[SocialStage]:
    async with social_stage(postgres_dsn, tmp_path, clock) as stage:
        yield stage


@contextmanager
def counted(stage: SocialStage, *, most: int = MOST) -> Iterator[None]:
    with statements(stage.scene) as seen:
        yield
    taken = [each for each in seen if not each.startswith("BEGIN")]
    assert len(taken) <= most, "\n".join(taken)
    assert taken, "nothing was counted"


async def test_a_link(stage: SocialStage) -> None:
    await stage.customer(ADA, password=PASSWORD)
    browser = await stage.scene.browser()
    await browser.sign_in(ADA)
    flow = await browser.open_flow("settings")
    with counted(stage):
        await browser.get(stage.back(await stage.leave(browser, flow, link="idp")))
    assert "oidc" in [row["type"] for row in await stage.scene.rows("credentials")]


async def test_a_question_to_the_owner_of_an_address(stage: SocialStage) -> None:
    await stage.customer(ADA, password=PASSWORD)
    browser = await stage.scene.browser()
    flow = await browser.open_flow("login")
    with counted(stage):
        await browser.get(stage.back(await stage.leave(browser, flow, provider="idp"), email=ADA, email_verified=True))
    assert await browser.whoami() is None


async def test_the_proof_of_the_owner_of_an_address(stage: SocialStage) -> None:
    await stage.customer(ADA, password=PASSWORD)
    browser = await stage.scene.browser()
    flow = await stage.flow_after(browser, await stage.arrive(browser, email=ADA, email_verified=True))
    with counted(stage):
        await browser.send_flow(flow, {"method": "password", "identifier": ADA, "password": PASSWORD})
    assert await browser.whoami() is not None
    assert len(await stage.scene.rows("provider_sessions")) == 1
