"""A provider that customers also sign in at in their browsers: the same account as by its tokens."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from tests.attacks.scene import ADDRESS, Scene, ask
from tests.services.openid_provider import CLIENT_SECRET, OpenIDProvider, Walker
from tests.upstream.stages import API

ADA = "ada@example.org"


async def test_a_browser_and_a_token_are_one_person(
    open_shop: Callable[..., Awaitable[Scene]], openid_provider: OpenIDProvider
) -> None:
    scene = await open_shop(client_id="shop", client_secret=CLIENT_SECRET, sign_in=True)
    openid_provider.client(redirect_uris=[f"{ADDRESS}/self-service/methods/oidc/callback/idp"])
    openid_provider.person(ADA)
    app = await scene.native()
    token = await asyncio.to_thread(openid_provider.access_token, ADA, resource=API)
    assert (await ask(app, token, "{ getCurrentCustomer { email } }"))["data"]["getCurrentCustomer"]["email"] == ADA

    page = await scene.browser(accept="application/json")
    flow = (await page.get("/self-service/login/browser")).json()
    csrf = next(n["attributes"]["value"] for n in flow["ui"]["nodes"] if n["attributes"]["name"] == "csrf_token")
    sent = {"method": "oidc", "provider": "idp", "csrf_token": csrf}
    left = await page.post(f"/self-service/login?flow={flow['id']}", json=sent)
    assert left.status_code == 422, left.text
    url = left.json()["redirect_browser_to"]
    assert "code_challenge_method=S256" in url
    with Walker(openid_provider.issuer) as walker:
        arrival = await asyncio.to_thread(walker.walk, url, ADA)
    await page.get(arrival.path)
    session = (await page.get("/sessions/whoami")).json()
    assert session["identity"]["traits"]["email"] == ADA
    assert [UUID(str(row["id"])) for row in await scene.rows("identities")] == [UUID(session["identity"]["id"])]
