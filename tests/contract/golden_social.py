"""Our answers to the published samples in which a browser comes back from a provider."""

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2

from shopkeeper.clock import SystemClock
from shopkeeper.http_client import GuardedClient
from tests.contract.golden import OWNER, Body, Case, comparable, config_of, register, visiting
from tests.openid.scripted import CLIENT_ID, ScriptedProvider, signed
from tests.services.web import serving

PROVIDER: Final = {"id": "google-fake", "label": "Fake Google"}
MAPPER: Final = """
local claims = std.extVar('claims');
{
  identity: {
    traits: { email: claims.email, tos: false },
    verified_addresses: [{ via: 'email', value: claims.email }],
  },
}
"""


@dataclass(frozen=True)
class SocialCase:
    """A sample: the flow that the browser leaves from, and the kind of the one that it is sent to."""

    case: Case
    leaves: str
    claims: Mapping[str, Any] = field(default_factory=lambda: {"email": OWNER["email"], "email_verified": True})

    @property
    def golden(self) -> str:
        return self.case.golden


async def ours_after_coming_back(social: SocialCase, folder: Path, *, stepwise: bool) -> Any:
    """Return the flow that a browser is shown after it has come back."""
    case = social.case
    async with _provider() as idp, visiting(_config(social, idp, stepwise=stepwise), folder) as browser:
        if case.known:
            await register(browser, password=case.password)
            browser.cookies.clear()
        flow = (await browser.get(f"/self-service/{social.leaves}/browser")).json()
        url = await _leave(browser, flow, {"method": "oidc", "provider": PROVIDER["id"]})
        asked = dict(parse_qsl(urlsplit(url).query))
        idp.answer("/token", idp.tokens(signed(idp.claims(nonce=asked["nonce"], **social.claims))))
        back = f"{asked['redirect_uri']}?{urlencode({'code': 'c-1', 'state': asked['state']})}"
        answer = await browser.get(back, headers={"Accept": "text/html"})
        shown = dict(parse_qsl(urlsplit(answer.headers["location"]).query))["flow"]
        return comparable((await browser.get(f"/self-service/{case.kind}/flows?id={shown}")).json())


@asynccontextmanager
async def _provider() -> AsyncIterator[ScriptedProvider]:
    async with serving("127.0.0.1") as server, GuardedClient(private_allowed=True) as http:
        yield ScriptedProvider(server, http, SystemClock())


def _config(social: SocialCase, idp: ScriptedProvider, *, stepwise: bool) -> Mapping[str, Any]:
    config: Any = json.loads(json.dumps(config_of(social.case, stepwise=stepwise)))
    mapper = base64.b64encode(MAPPER.encode()).decode()
    provider = {
        **PROVIDER,
        "provider": "generic",
        "client_id": CLIENT_ID,
        "client_secret": "a secret of the shop",
        "issuer_url": idp.issuer,
        "mapper_url": f"base64://{mapper}",
        "scope": ["openid", "email"],
    }
    config["selfservice"]["methods"]["oidc"] = {"enabled": True, "config": {"providers": [provider]}}
    config["clients"] = {"http": {"disallow_private_ip_ranges": False}}
    return config


async def _leave(browser: httpx2.AsyncClient, flow: Mapping[str, Any], body: Body) -> str:
    """Submit a flow; return the address that the browser is redirected to."""
    fields = {node["attributes"].get("name"): node["attributes"].get("value") for node in flow["ui"]["nodes"]}
    answer = await browser.post(flow["ui"]["action"], json={**body, "csrf_token": fields["csrf_token"]})
    assert answer.status_code == 422, answer.text
    return str(answer.json()["redirect_browser_to"])
