"""An OpenID provider in a process of its own: panva's `oidc-provider`, with the server in `tests/services/openid`.

provider = start_openid_provider(owner=os.getpid())
provider.client(redirect_uris=[f"{shop.public}/self-service/methods/oidc/callback/idp"])
provider.person("ada@example.org", email_verified=False)
arrival = Walker(provider).walk(authorization_url, "ada@example.org")
provider.stop()
"""

import html
import json
import re
import socket
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.error import URLError
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx2

from tests.services.node import PROVIDER, install, node
from tests.services.server import NotStarted, Server, free_port, start

CLIENT_ID = "shop"
CLIENT_SECRET = "shop-secret-0123456789abcdef0123456789"
PASSWORD = "a kettle of fish"
PATIENCE = 30
TRIES = 3
_HOPS = 12


@dataclass(frozen=True)
class OpenIDProvider:
    """A running provider, and what its control plane does."""

    issuer: str
    server: Server

    @property
    def pid(self) -> int:
        """Its process."""
        return int((Path(self.server.folder) / "pid").read_text())

    def client(self, client_id: str = CLIENT_ID, *, redirect_uris: Sequence[str], **metadata: Any) -> dict[str, Any]:
        """Register a client, or replace one; the metadata are those of RFC 7591."""
        client = {
            "client_id": client_id,
            "client_secret": CLIENT_SECRET,
            "redirect_uris": list(redirect_uris),
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            **metadata,
        }
        self._control("client", client)
        return client

    def person(self, email: str, *, password: str = PASSWORD, **claims: Any) -> None:
        """Know a person. The address is verified, unless `email_verified` says otherwise."""
        self._control("person", {"email": email, "password": password, **claims})

    def faults(self, **by_path: Mapping[str, Any]) -> None:
        """Replace every fault: `token={"status": 500}` is one of the path that ends in "token", `all` of every path.

        A fault has `delay` in seconds, `drop`, `status`, `body`, `type`, `headers`, and `times` that it is met.
        """
        self._control("faults", {"" if path == "all" else path: fault for path, fault in by_path.items()})

    def clock(self, offset: float) -> None:
        """Put the provider's clock this many seconds forward, or back where it is negative."""
        self._control("clock", {"offset": offset})

    def automatic(self, on: bool = True) -> None:
        """Sign in whom `login_hint` names, without a form."""
        self._control("automatic", {"on": on})

    def rotate(self, *, at_once: bool = False) -> None:
        """Sign with new keys; the old ones stay published until `retire`, or go at once."""
        self._control("rotate", {"at_once": at_once})

    def retire(self) -> None:
        """Publish the newest keys only."""
        self._control("retire", {})

    def sign(self, claims: Mapping[str, Any], *, alg: str = "RS256", header: Mapping[str, Any] | None = None) -> str:
        """Return a token with any claims, signed with the provider's key."""
        return str(self._control("sign", {"claims": claims, "alg": alg, "header": header or {}})["token"])

    def access_token(
        self, email: str, *, resource: str | None, client_id: str = CLIENT_ID, scope: str = "openid profile email"
    ) -> str:
        """Return an access token of a person: a JWT for this API, or an opaque one where its address ends so."""
        told = {"email": email, "client_id": client_id, "resource": resource, "scope": scope}
        return str(self._control("access_token", told)["token"])

    def one_of_each_kind(self, email: str, *, client_id: str = CLIENT_ID) -> dict[str, str]:
        """Return a token of each kind that the library has, by the library's name of the kind."""
        return dict(self._control("kinds", {"email": email, "client_id": client_id}))

    def revoke(self, token: str) -> None:
        """End an opaque access token."""
        self._control("revoke", {"token": token})

    def counts(self) -> dict[str, int]:
        """Return how often each path was asked for since the last `reset`."""
        return dict(self._control("counts"))

    def notices(self) -> list[dict[str, Any]]:
        """Return what became of the back-channel logouts since the last `reset`."""
        return list(self._control("notices"))

    def published_keys(self) -> list[dict[str, Any]]:
        """Return the published keys, without asking through a fault."""
        with urllib.request.urlopen(f"{self.issuer}/jwks", timeout=PATIENCE) as answer:
            return list(json.load(answer)["keys"])

    def reset(self) -> None:
        """Forget faults, the clock's offset, sessions and counts; clients, persons and keys stay."""
        self._control("reset", {})

    def stop(self) -> None:
        self.server.stop()

    def _control(self, what: str, told: Mapping[str, Any] | None = None) -> Any:
        body = None if told is None else json.dumps(told).encode()
        with urllib.request.urlopen(f"{self.issuer}/_control/{what}", body, timeout=PATIENCE) as answer:
            return json.load(answer)


def start_openid_provider(
    *, owner: int, port: int | None = None, told: Mapping[str, Any] | None = None
) -> OpenIDProvider:
    """Start a provider that lives no longer than the process `owner`.

    `told` are its persons, clients and the text of its page, as in `tests/services/openid/try.json`. Raises
    `NotInstalled` and `NotStarted`.
    """
    for left in reversed(range(TRIES)):
        chosen = port or free_port()
        issuer = f"http://127.0.0.1:{chosen}"
        folder = Path(tempfile.mkdtemp(prefix="shopkeeper-openid-"))
        command = [str(node()), str(install(PROVIDER) / "server.mjs"), json.dumps({**(told or {}), "port": chosen})]
        try:
            server = start(issuer, command, folder=folder, answers=lambda at=issuer: _answers(at), owner=owner)
        except NotStarted as failed:
            # Between choosing a free port and listening on it, another process may have taken it.
            if not left or port or "EADDRINUSE" not in str(failed):
                raise
            continue
        return OpenIDProvider(issuer, server)
    raise AssertionError("unreachable")


def port_is_free(port: int) -> bool:
    """Whether nothing listens on this port of the loopback address."""
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) != 0


def _answers(issuer: str) -> bool:
    try:
        with urllib.request.urlopen(f"{issuer}/_control/counts", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, HTTPException, ConnectionError, TimeoutError):
        return False


# -- a person's browser at the provider --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arrival:
    """Where the provider sends the browser in the end; `fields` are those of a form that it posts there."""

    url: str
    fields: Mapping[str, str] | None = None
    query: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "query", dict(self.fields or parse_qsl(urlsplit(self.url).query)))

    @property
    def path(self) -> str:
        """The address without its host, as a client of an application in this process wants it."""
        split = urlsplit(self.url)
        return f"{split.path}?{split.query}" if split.query else split.path


class Walker:
    """The browser of a person, with the provider's cookies only. Close it, or use it in a `with` statement."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.http = httpx2.Client(timeout=PATIENCE, follow_redirects=False, verify=False, trust_env=False)

    def __enter__(self) -> "Walker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def walk(self, url: str, email: str = "", *, password: str = PASSWORD, answer: str = "yes") -> Arrival:
        """Go to the provider, sign in there (or decline, with "no") if it asks, and return where that ends."""
        response = self.http.get(url)
        for _ in range(_HOPS):
            if response.has_redirect_location:
                url = urljoin(str(response.url), response.headers["location"])
                if not url.startswith(f"{self.issuer}/"):
                    return Arrival(url)
                response = self.http.get(url)
                continue
            action, fields = _form(response)
            if not action.startswith(f"{self.issuer}/"):
                return Arrival(action, fields)
            sent = {"username": email, "password": password, "answer": answer}
            assert response.status_code == 200, response.text
            response = self.http.post(action, data=sent)
        raise AssertionError(f"no way out of {response.url}")

    def sign_out(self, url: str | None = None) -> str:
        """Sign out at the provider, which tells every application that knows the session; return where that leads.

        `url` is the address to which an application has sent the browser for it.
        """
        page = self.http.get(url or f"{self.issuer}/session/end")
        action, fields = _form(page)
        done = self.http.post(action, data={**fields, "logout": "yes"})
        assert done.status_code in (200, 303), done.text
        return str(done.headers.get("location", ""))


def _form(response: httpx2.Response) -> tuple[str, dict[str, str]]:
    """Return the address and the hidden fields of the page's form."""
    found = re.search(r'<form[^>]*\baction="([^"]+)"', response.text)
    assert found, f"{response.url} has no form: {response.status_code} {response.text[:500]}"
    return urljoin(str(response.url), html.unescape(found[1])), dict(_hidden(response.text))


def _hidden(page: str) -> Iterator[tuple[str, str]]:
    for tag in re.findall(r"<input[^>]*>", page):
        told = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        if told.get("type") == "hidden":
            yield told["name"], html.unescape(told["value"])
