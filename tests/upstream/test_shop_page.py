"""The demo shop's page: its dialogs are for stores that take passwords; the others have their own way to sign in."""

from pathlib import Path
from typing import Any

import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import opened
from tests.http.pages.reading import read

KRATOS = {"id": "k", "kind": "kratos", "public_url": "https://accounts.example/"}
OIDC = {"id": "o", "kind": "oidc", "issuer": "https://idp.example", "audiences": ["https://api.example"]}
GRANT = {"client_id": "shop", "client_secret": "s3cret-of-the-shop", "password_grant": {"enabled": True}}


@pytest.mark.parametrize(
    ("provider", "dialogs", "ways"),
    [
        (None, True, []),
        ({**OIDC, **GRANT}, True, []),
        (OIDC, False, []),
        ({**OIDC, "client_id": "shop", "sign_in": True}, False, ["login", "registration"]),
        ({**KRATOS, "self_service": "redirect"}, False, ["login", "registration"]),
        ({**KRATOS, "self_service": "proxy"}, False, ["login", "registration"]),
        ({**KRATOS, "self_service": "off"}, False, []),
    ],
    ids=["own", "password grant", "tokens only", "sign-in", "redirect", "proxy", "off"],
)
async def test_the_shop_leads_to_the_stores_own_sign_in(
    sqlite_dsn: str,
    tmp_path: Path,
    clock: StoppedClock,
    provider: dict[str, Any] | None,
    dialogs: bool,
    ways: list[str],
) -> None:
    named = {"providers": [provider], "stores": [{"id": "default", "provider": provider["id"]}]} if provider else {}
    async with opened(sqlite_dsn, tmp_path, clock, settings={"demo": True, **named}) as scene:
        app = await scene.native()
        page = read((await app.get("/", headers={"accept": "text/html"})).text)
    asking = page.all("input", type="password")
    assert bool(asking) is dialogs
    assert bool(page.all("dialog")) is dialogs
    account = page.one("ul", id="account")
    hrefs = [each["href"] for each in account.all("a")]
    assert [way for way in ("login", "registration") if any(f"/{way}/browser?return_to=" in at for at in hrefs)] == ways
