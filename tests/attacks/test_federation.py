"""Rows 48, 65, 80, 81 and 95: answers of a provider that this browser has not asked for, or has used, mix-up, and
addresses that look alike."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.federation import (
    NOTHING,
    Federation,
    configured,
    federated,
    known,
    parameter,
    section,
    with_query,
)
from tests.attacks.scene import APP, EVIL, Browser, new_address
from tests.services.openid_provider import OpenIDProvider, Walker
from tests.services.other_openid_provider import OtherProvider


class TestState:
    """ASVS 10.1.2 and 10.2.1: answers are taken from the browser that asked, and once."""

    async def test_row_080_an_answer_without_its_state_signs_nobody_in(self, federation: Federation) -> None:
        for state in (None, "", "nonsense", "x" * 5000):
            browser = await federation.scene.browser()
            arrival = federation.walk(await federation.leave(browser), known(federation))
            answer = await browser.get(with_query(arrival.path, state=state))
            assert answer.status_code < 500, state
            assert (await browser.whoami(), await federation.made()) == (None, NOTHING), state

    async def test_row_080_an_answer_with_the_state_of_another_flow_signs_nobody_in(
        self, federation: Federation
    ) -> None:
        browser, email = await federation.scene.browser(), known(federation)
        one = federation.walk(await federation.leave(browser), email)
        other = await federation.leave(browser)
        answer = await browser.get(with_query(one.path, state=parameter(other, "state")))
        assert answer.status_code < 500
        assert (await browser.whoami(), await federation.made()) == (None, NOTHING)

    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_row_080_an_attackers_answer_does_not_sign_a_victim_in(
        self, federation: Federation, kind: str
    ) -> None:
        attacker, victim = await federation.scene.browser(), await federation.scene.browser()
        arrival = federation.walk(await federation.leave(attacker, kind), known(federation))
        await federation.leave(victim, kind)  # so that it has a cookie of this kind
        answer = await federation.come_back(victim, arrival)
        assert answer.status_code == 303
        assert (await victim.whoami(), await federation.made()) == (None, NOTHING)
        await federation.come_back(attacker, arrival)
        assert await attacker.whoami() is not None, "the browser that asked may still use it"

    async def test_row_080_an_attackers_account_is_not_linked_to_a_victim(self, federation: Federation) -> None:
        attacker, victim = await federation.scene.browser(), await federation.scene.browser()
        for browser in (attacker, victim):
            await browser.sign_up(new_address())
        url = await federation.leave(attacker, "settings", provider=None, link="idp")
        arrival = federation.walk(url, known(federation))
        before = await federation.scene.rows("credentials")
        await federation.come_back(victim, arrival)
        assert await federation.scene.rows("credentials") == before

    async def test_row_080_a_link_needs_the_session_that_asked_for_it(self, federation: Federation) -> None:
        browser = await federation.scene.browser()
        await browser.sign_up(new_address())
        arrival = federation.walk(
            await federation.leave(browser, "settings", provider=None, link="idp"), known(federation)
        )
        before = await federation.scene.rows("credentials")
        browser.cookies.delete("ory_kratos_session")
        await federation.come_back(browser, arrival)
        assert await federation.scene.rows("credentials") == before
        assert await browser.whoami() is None


class TestReplay:
    async def test_row_081_an_answer_that_was_used_signs_nobody_in_again(self, federation: Federation) -> None:
        browser = await federation.scene.browser()
        arrival = federation.walk(await federation.leave(browser), known(federation))
        await federation.come_back(browser, arrival)
        assert await browser.whoami() is not None
        made = await federation.made()
        browser.cookies.delete("ory_kratos_session")
        again = await federation.come_back(browser, arrival)
        assert again.status_code < 500
        assert (await browser.whoami(), await federation.made()) == (None, made)

    async def test_row_081_of_two_answers_at_once_one_signs_in(self, federation: Federation) -> None:
        browser = await federation.scene.browser()
        arrival = federation.walk(await federation.leave(browser), known(federation))
        answers = await asyncio.gather(*(federation.come_back(browser, arrival) for _ in range(3)))
        assert all(answer.status_code < 500 for answer in answers)
        assert await federation.made() == {"identities": 1, "sessions": 1}

    async def test_row_081_a_provider_that_was_switched_off_meanwhile_signs_nobody_in(
        self, sqlite_dsn: str, tmp_path: Path, openid_provider: OpenIDProvider, other_openid_provider: OtherProvider
    ) -> None:
        ground = (sqlite_dsn, tmp_path, openid_provider, other_openid_provider)
        async with federated(*ground) as before:
            browser = await before.scene.browser()
            arrival = before.walk(await before.leave(browser), known(before))
            cookies = list(browser.cookies.jar)
        only_other = configured(section("other", other_openid_provider.issuer))
        async with federated(*ground, settings=only_other) as after:
            browser = await after.scene.browser()
            for cookie in cookies:
                browser.cookies.jar.set_cookie(cookie)
            answer = await after.come_back(browser, arrival)
            assert answer.status_code < 500
            assert (await browser.whoami(), await after.made()) == (None, NOTHING)


class TestNonceAndMixUp:
    async def test_row_081_a_code_for_another_nonce_is_refused(self, federation: Federation) -> None:
        """ASVS 10.5.1: a code that was stolen from another sign-in carries that one's nonce."""
        browser = await federation.scene.browser()
        url = with_query(await federation.leave(browser), nonce="of-another-sign-in")
        answer = await federation.come_back(browser, federation.walk(url, known(federation)))
        assert await federation.messages(browser, answer)
        assert (await browser.whoami(), await federation.made()) == (None, NOTHING)

    async def test_a_code_for_another_verifier_is_refused(self, federation: Federation) -> None:
        """ASVS 10.2.1: PKCE; the provider refuses, because the code belongs to another challenge."""
        browser = await federation.scene.browser()
        url = await federation.leave(browser)
        assert parameter(url, "code_challenge_method") == "S256"
        url = with_query(url, code_challenge="E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
        answer = await federation.come_back(browser, federation.walk(url, known(federation)))
        assert await federation.messages(browser, answer)
        assert await federation.made() == NOTHING

    async def test_row_081_an_answer_at_another_providers_callback_is_refused(self, federation: Federation) -> None:
        """ASVS 10.2.2: the code would be sent to the other provider."""
        browser = await federation.scene.browser()
        arrival = federation.walk(await federation.leave(browser), known(federation))
        answer = await browser.get(arrival.path.replace("/idp?", "/other?"))
        assert answer.status_code < 500
        assert (await browser.whoami(), await federation.made()) == (None, NOTHING)

    async def test_row_081_an_answer_that_names_another_issuer_is_refused(self, federation: Federation) -> None:
        """RFC 9207, section 2.4: nothing is redeemed."""
        browser = await federation.scene.browser()
        arrival = federation.walk(await federation.leave(browser), known(federation))
        assert arrival.query["iss"] == federation.provider.issuer
        answer = await browser.get(with_query(arrival.path, iss=federation.other.issuer))
        assert await federation.messages(browser, answer)
        assert "/token" not in federation.provider.counts()
        assert await federation.made() == NOTHING

    async def test_row_081_an_answer_without_the_issuer_that_was_promised_is_refused(
        self, federation: Federation
    ) -> None:
        browser = await federation.scene.browser()
        arrival = federation.walk(await federation.leave(browser), known(federation))
        answer = await browser.get(with_query(arrival.path, iss=None))
        assert await federation.messages(browser, answer)
        assert await federation.made() == NOTHING

    async def test_a_provider_of_another_author_signs_in(self, federation: Federation) -> None:
        browser, email = await federation.scene.browser(), new_address()
        federation.other.person("ada-1815", email=email, email_verified=True)
        url = await federation.leave(browser, provider="other")
        await federation.come_back(browser, federation.other.sign_in(url, "ada-1815"))
        one = await browser.whoami()
        again = await federation.scene.browser()
        url = await federation.leave(again, provider="other")
        await federation.come_back(again, federation.other.sign_in(url, "ada-1815"))
        assert one is not None
        assert await again.whoami() == one
        refused = await federation.scene.browser()
        url = await federation.leave(refused, provider="other")
        answer = await federation.come_back(refused, federation.other.decline(url))  # which forgets the state
        assert answer.status_code < 500
        assert await refused.whoami() is None


class TestReturnTo:
    async def test_row_048_the_page_to_return_to_survives_the_provider(self, federation: Federation) -> None:
        browser = await federation.scene.browser()
        url = await federation.leave(browser, query=f"?return_to={APP}/cart")
        answer = await federation.come_back(browser, federation.walk(url, known(federation)))
        assert answer.headers["location"] == f"{APP}/cart"

    async def test_row_048_the_callback_takes_no_page_to_return_to(self, federation: Federation) -> None:
        for name in ("return_to", "redirect_uri", "returnTo"):
            browser = await federation.scene.browser()
            arrival = federation.walk(await federation.leave(browser), known(federation))
            answer = await browser.get(with_query(arrival.path, **{name: EVIL}))
            assert answer.status_code == 303
            assert EVIL not in answer.headers["location"]


class TestConfirmation:
    """ASVS 6.8.4, 7.5.1 and 10.3.4: who sits at an unlocked browser is no owner who has just signed in."""

    @pytest.mark.parametrize("changed", [{"prompt": None, "max_age": None}, {"prompt": None, "max_age": "99999"}])
    async def test_row_065_a_session_is_confirmed_by_a_new_sign_in_only(
        self, federation: Federation, clocks: Callable[[float], None], changed: dict[str, str | None]
    ) -> None:
        browser, email = await federation.scene.browser(), known(federation)
        with Walker(federation.provider.issuer) as walker:
            await federation.come_back(browser, walker.walk(await federation.leave(browser), email))
            clocks(7200)
            asked = await federation.leave(browser, query="?refresh=true")
            arrival = walker.walk(with_query(asked, **changed), "nobody", password="wrong")
            assert await federation.messages(browser, await federation.come_back(browser, arrival)) == [4000001]
            assert await _changes_password(browser) == 403
            asked = await federation.leave(browser, query="?refresh=true")
            await federation.come_back(browser, walker.walk(asked, email))
            assert await _changes_password(browser) == 200


@pytest.fixture
def clocks(federation: Federation) -> Iterator[Callable[[float], None]]:
    """Put the clocks of both sides forward by seconds."""

    def forward(by: float) -> None:
        clock = federation.scene.application.infrastructure.clock
        assert isinstance(clock, StoppedClock)
        clock.advance(seconds=by)
        federation.provider.clock(by)

    yield forward
    federation.provider.clock(0)


async def _changes_password(browser: Browser) -> int:
    flow = await browser.open_flow("settings")
    answer = await browser.send_flow(flow, {"method": "password", "password": "Damson-Cheese-52-larder"})
    return answer.status_code


class TestLookAlikes:
    async def test_row_095_an_address_that_only_looks_like_another_links_nothing(
        self, sqlite_dsn: str, tmp_path: Path, openid_provider: OpenIDProvider, other_openid_provider: OtherProvider
    ) -> None:
        """Both addresses have one spelling here, and the provider calls each verified."""
        ground = (sqlite_dsn, tmp_path, openid_provider, other_openid_provider)
        async with federated(*ground, account_linking_mode="automatic") as federation:
            owner, address = await federation.scene.browser(), known(federation)
            await federation.sign_in(owner, address)
            assert await owner.whoami() is not None
            look_alike = chr(ord(address[0]) + 0xFEE0) + address[1:]
            federation.provider.person(look_alike)
            eve = await federation.scene.browser()
            await federation.sign_in(eve, look_alike)
            assert (await eve.whoami(), await federation.made()) == (None, {"identities": 1, "sessions": 1})
