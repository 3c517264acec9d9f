"""An OpenID provider from another author: `oidc-provider-mock`, which signs with RS256 and knows no sessions.

Any client and any secret are good. `sign_in` answers its form as a person with any subject would.
"""

import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError

import httpx2

from tests.services.openid_provider import Arrival
from tests.services.server import NotStarted, Server, free_port, start

COMMAND = Path(sys.executable).with_name("oidc-provider-mock")
PATIENCE = 30
TRIES = 3


@dataclass(frozen=True)
class OtherProvider:
    """A running provider."""

    issuer: str
    server: Server

    def person(self, subject: str, **claims: Any) -> None:
        """Know a person; one with the same subject is replaced."""
        httpx2.put(f"{self.issuer}/users/{subject}", json=claims, timeout=PATIENCE).raise_for_status()

    def sign_in(self, url: str, subject: str) -> Arrival:
        """Answer the form at this address, and return where the browser is sent."""
        answer = httpx2.post(url, data={"sub": subject}, timeout=PATIENCE)
        assert answer.has_redirect_location, answer.text
        return Arrival(answer.headers["location"])

    def decline(self, url: str) -> Arrival:
        """Decline at this address, and return where the browser is sent."""
        answer = httpx2.post(url, data={"action": "deny"}, timeout=PATIENCE)
        assert answer.has_redirect_location, answer.text
        return Arrival(answer.headers["location"])

    def revoke(self, subject: str) -> None:
        """End every token of a person."""
        httpx2.post(f"{self.issuer}/users/{subject}/revoke-tokens", timeout=PATIENCE).raise_for_status()

    def stop(self) -> None:
        self.server.stop()


def start_other_provider(*, owner: int) -> OtherProvider:
    """Start a provider that lives no longer than the process `owner`. Raises `NotStarted`."""
    for left in reversed(range(TRIES)):
        port = free_port()
        issuer = f"http://127.0.0.1:{port}"
        folder = Path(tempfile.mkdtemp(prefix="shopkeeper-other-openid-"))
        try:
            server = start(
                issuer,
                # The library that it is made with refuses http without this variable.
                ["/usr/bin/env", "AUTHLIB_INSECURE_TRANSPORT=1", str(COMMAND), "--port", str(port)],
                folder=folder,
                answers=lambda at=issuer: _answers(at),
                owner=owner,
            )
        except NotStarted as failed:
            # Between choosing a free port and listening on it, another process may have taken it.
            if not left or "in use" not in str(failed):
                raise
            continue
        return OtherProvider(issuer, server)
    raise AssertionError("unreachable")


def _answers(issuer: str) -> bool:
    try:
        with urllib.request.urlopen(f"{issuer}/jwks", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, HTTPException, ConnectionError, TimeoutError):
        return False
