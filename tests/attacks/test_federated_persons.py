"""Rows 82 to 84: who it is that comes back from a provider."""

from typing import Any

from tests.attacks.federation import (
    Federation,
    known,
)
from tests.attacks.scene import EVIL, new_address, sign_up


class TestWho:
    """ASVS 10.3.3 and 10.5.2: issuer and subject decide, and nothing else."""

    async def test_row_082_only_an_address_that_the_provider_has_verified_is_verified(
        self, federation: Federation
    ) -> None:
        told: list[Any] = [True, "true", False, "false", None, 0, 1, "yes", "", [True]]
        people = [known(federation, email_verified=said) for said in told]
        for email in people:
            browser = await federation.scene.browser()
            await federation.sign_in(browser, email)
            assert await browser.whoami() is not None
        verified = {row["value"] for row in await federation.scene.rows("verifiable_addresses") if row["verified"]}
        assert verified == set(people[:2])

    async def test_row_082_an_account_with_the_same_address_is_not_given_away(self, federation: Federation) -> None:
        app = await federation.scene.native()
        for kind in ("login", "registration"):
            for verified in (True, False):
                await sign_up(app, email := known(federation, email_verified=verified))
                before = await federation.scene.rows("credentials")
                attacker = await federation.scene.browser()
                answer = await federation.sign_in(attacker, email, kind)
                assert answer.has_redirect_location, answer.text
                assert await attacker.whoami() is None
                assert await federation.scene.rows("credentials") == before

    async def test_row_083_an_address_that_changed_hands_does_not_sign_its_new_owner_in(
        self, federation: Federation
    ) -> None:
        email = known(federation, sub=new_address("first"))
        first, second = await federation.scene.browser(), await federation.scene.browser()
        await federation.sign_in(first, email)
        federation.provider.person(email, sub=new_address("second"))
        await federation.sign_in(second, email)
        assert await first.whoami() is not None
        assert await second.whoami() is None

    async def test_row_083_a_person_with_a_new_address_keeps_the_account(self, federation: Federation) -> None:
        sub = new_address("sub")
        first, second = await federation.scene.browser(), await federation.scene.browser()
        await federation.sign_in(first, known(federation, sub=sub))
        federation.provider.person(moved := new_address("moved"), sub=sub)
        federation.provider.person("nobody@example.org")  # the older address belongs to nobody who is asked for below
        arrival = federation.walk(await federation.leave(second), moved)
        await federation.come_back(second, arrival)
        assert await second.whoami() == await first.whoami()

    async def test_row_083_the_same_subject_at_another_provider_is_another_person(self, federation: Federation) -> None:
        first, second = await federation.scene.browser(), await federation.scene.browser()
        await federation.sign_in(first, known(federation, sub="the-same-subject"))
        federation.other.person("the-same-subject", email=new_address())
        url = await federation.leave(second, provider="other")
        await federation.come_back(second, federation.other.sign_in(url, "the-same-subject"))
        assert await second.whoami() not in {None, await first.whoami()}

    async def test_row_084_a_caller_changes_none_of_the_requests_own_parameters(self, federation: Federation) -> None:
        browser = await federation.scene.browser()
        own = {"client_id": "evil", "redirect_uri": EVIL, "state": "evil", "nonce": "evil", "scope": "evil"}
        flow = await browser.open_flow("login")
        answer = await browser.send_flow(
            flow, {"method": "oidc", "provider": "idp", "upstream_parameters": {**own, "response_type": "token"}}
        )
        assert answer.status_code < 500
        assert EVIL not in answer.text
        assert "evil" not in answer.json().get("redirect_browser_to", "")
