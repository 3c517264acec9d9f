"""Introspection: what an engine asks in each request of a shopper; beside it, that of npm's `oidc-provider`."""

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench.hot import against_bare
from bench.load import Request
from bench.outcome import Row, Unmeasured
from bench.run import CUSTOMERS, Run
from bench.servers import API, CLIENT_KEY, INTROSPECTION_KEY, Running, shopkeeper
from bench.shop import answer_to, bearer
from bench.social import BARE, running_provider
from tests.services.openid_provider import CLIENT_SECRET, OpenIDProvider

FORM = {"content-type": "application/x-www-form-urlencoded"}
PATH = "/oauth2/introspect"
EMAIL = "ada@bench.example"


def introspection(run: Run) -> Iterator[Row]:
    """Measure introspection of tokens that were asked about before."""
    session = run.shop.sign_in(CUSTOMERS[3])
    yield against_bare(run, "introspection, session", active(run.shop.server, asking(session)), target=0.7)
    access = active(run.shop.server, asking(_exchanged(run.shop.server, session)))
    yield against_bare(run, "introspection, own access token", access, target=0.7)
    with running_provider() as provider:
        provider.client(redirect_uris=[BARE])
        provider.person(EMAIL)
        jwt, opaque = (provider.access_token(EMAIL, resource=each) for each in (API, f"{API}/opaque"))
        yield _of_npm(run, provider, opaque)
        with _shop(run, provider) as shop:
            what = "introspection, JWT of a provider"
            yield against_bare(run, what, active(shop, asking(jwt)), target=0.5, server=shop)


def _of_npm(run: Run, provider: OpenIDProvider, token: str) -> Row:
    server = Running(provider.issuer, "", "", provider.pid, 0.0, run.folder / "npm.log")
    request = _form("/token/introspection", {"token": token}, _basic("shop", CLIENT_SECRET))
    return against_bare(run, "introspection, npm oidc-provider, in memory", active(server, request), server=server)


def _shop(run: Run, provider: OpenIDProvider) -> Any:
    section = {
        "kind": "oidc",
        "id": "idp",
        "issuer": provider.issuer,
        "client_id": "shop",
        "client_secret": CLIENT_SECRET,
        "audiences": [API],
    }
    trusted = {"http": {"private_ip_exception_urls": [f"{provider.issuer}/**"]}}
    folder = run.folder / "introspection"
    folder.mkdir(exist_ok=True)
    file = Path(folder / "shop.json")
    file.write_text(json.dumps({"providers": [section], "clients": trusted}))
    return shopkeeper(folder, dsn=f"sqlite://{folder / 'shopkeeper.db'}", config=file)


def _exchanged(server: Running, session: str) -> str:
    """Return an access token for a session."""
    told = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": session,
        "subject_token_type": "urn:shopkeeper:params:oauth:token-type:session_token",
        "audience": API,
    }
    answer = json.loads(answer_to(server.url, _form("/oauth2/token", told, _basic("bench", CLIENT_KEY))))
    return str(answer["access_token"])


def asking(token: str) -> Request:
    """Return the question about a token."""
    return _form(PATH, {"token": token}, bearer(INTROSPECTION_KEY))


def _form(path: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> Request:
    return Request(path, "POST", {**FORM, **headers}, urlencode(fields))


def _basic(name: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def active(server: Running, request: Request) -> Request:
    """Return a request that is answered as expected: refusals have a status of 200 as well."""
    if not json.loads(answer_to(server.url, request))["active"]:
        raise Unmeasured("the token that was to be asked about is not active")
    return request
