"""The provider of the tests does what its control plane says: a test of a fault must not pass for want of the fault."""

import base64
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx2
import pytest

from tests.services import node as node_packages
from tests.services import try_provider
from tests.services.openid_provider import CLIENT_ID, CLIENT_SECRET, Arrival, OpenIDProvider, Walker
from tests.services.other_openid_provider import OtherProvider

BACK = "http://127.0.0.1:1/back"
EMAIL = "ada@example.org"


def ask(provider: OpenIDProvider, **parameters: str) -> str:
    """Return the address at which the provider is asked to sign a person in."""
    asked = {
        "client_id": CLIENT_ID,
        "response_type": "code",
        "redirect_uri": BACK,
        "scope": "openid email profile",
        "state": "of-this-browser",
        "nonce": "of-this-flow",
        **parameters,
    }
    return f"{provider.issuer}/auth?{urlencode(asked)}"


def redeem(provider: OpenIDProvider, arrival: Arrival) -> httpx2.Response:
    told = {"grant_type": "authorization_code", "code": arrival.query["code"], "redirect_uri": BACK}
    return httpx2.post(f"{provider.issuer}/token", data=told, auth=(CLIENT_ID, CLIENT_SECRET), timeout=30)


def read(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header and the claims of a token, unverified."""
    header, claims = (json.loads(base64.urlsafe_b64decode(f"{part}==")) for part in token.split(".")[:2])
    return header, claims


def sign_in(provider: OpenIDProvider, **parameters: str) -> tuple[dict[str, Any], dict[str, Any]]:
    with Walker(provider.issuer) as walker:
        arrival = walker.walk(ask(provider, **parameters), EMAIL)
    return read(redeem(provider, arrival).json()["id_token"])


@pytest.fixture
def provider(openid_provider: OpenIDProvider) -> OpenIDProvider:
    openid_provider.client(redirect_uris=[BACK])
    openid_provider.person(EMAIL, name="Ada Pear")
    return openid_provider


def test_a_person_signs_in_with_the_form(provider: OpenIDProvider) -> None:
    with Walker(provider.issuer) as walker:
        arrival = walker.walk(ask(provider), EMAIL)
        again = walker.walk(ask(provider, prompt="none"))
    assert arrival.url.startswith(BACK)
    assert arrival.query["state"] == "of-this-browser"
    assert arrival.query["iss"] == provider.issuer
    assert "code" in again.query
    claims = read(redeem(provider, arrival).json()["id_token"])[1]
    assert (claims["nonce"], claims["email"], claims["email_verified"]) == ("of-this-flow", EMAIL, True)


def test_a_person_who_is_not_signed_in_is_not_asked_silently(provider: OpenIDProvider) -> None:
    with Walker(provider.issuer) as walker:
        assert walker.walk(ask(provider, prompt="none")).query["error"] == "login_required"


def test_a_person_declines(provider: OpenIDProvider) -> None:
    with Walker(provider.issuer) as walker:
        assert walker.walk(ask(provider), EMAIL, answer="no").query["error"] == "access_denied"


def test_a_hint_is_enough_where_that_is_wanted(provider: OpenIDProvider) -> None:
    provider.automatic()
    with Walker(provider.issuer) as walker:
        assert "code" in walker.walk(ask(provider, login_hint=EMAIL), "nobody", password="").query


def test_an_answer_is_posted_as_a_form(provider: OpenIDProvider) -> None:
    with Walker(provider.issuer) as walker:
        arrival = walker.walk(ask(provider, response_mode="form_post"), EMAIL)
    assert arrival.url == BACK
    assert arrival.fields is not None
    assert arrival.fields["state"] == "of-this-browser"


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
def test_a_client_chooses_the_algorithm(provider: OpenIDProvider, alg: str) -> None:
    provider.client(redirect_uris=[BACK], id_token_signed_response_alg=alg)
    assert sign_in(provider)[0]["alg"] == alg


@pytest.mark.parametrize("said", ["true", "false", False])
def test_claims_have_the_types_that_are_told(provider: OpenIDProvider, said: Any) -> None:
    provider.person(EMAIL, email_verified=said)
    assert sign_in(provider)[1]["email_verified"] == said


def test_keys_rotate(provider: OpenIDProvider) -> None:
    def published() -> set[str]:
        return {key["kid"] for key in provider.published_keys()}

    before = published()
    assert sign_in(provider)[0]["kid"] in before
    provider.rotate()
    assert published() > before
    assert sign_in(provider)[0]["kid"] not in before
    provider.retire()
    assert not published() & before
    kept = published()
    provider.rotate(at_once=True)
    assert not published() & kept


def test_the_clock_is_off(provider: OpenIDProvider) -> None:
    provider.clock(300)
    claims = sign_in(provider)[1]
    assert 290 < claims["iat"] - time.time() < 310


def test_requests_are_slow_dropped_or_answered_with_nonsense(provider: OpenIDProvider) -> None:
    with Walker(provider.issuer) as walker:
        arrival = walker.walk(ask(provider), EMAIL)
    provider.faults(token={"status": 503, "body": "<html>", "type": "text/html", "times": 1})
    assert (redeem(provider, arrival).status_code, redeem(provider, arrival).status_code) == (503, 200)
    provider.faults(all={"drop": True})
    with pytest.raises(httpx2.TransportError):
        httpx2.get(f"{provider.issuer}/jwks")
    provider.faults(jwks={"delay": 60})
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.get(f"{provider.issuer}/jwks", timeout=0.2)
    provider.reset()
    assert httpx2.get(f"{provider.issuer}/jwks").status_code == 200
    assert provider.counts() == {"/jwks": 1}


def test_any_token_is_signed(provider: OpenIDProvider) -> None:
    header, claims = read(provider.sign({"sub": "anybody", "aud": "another"}, alg="ES256", header={"typ": "x"}))
    assert (header["alg"], header["typ"], claims["sub"], claims["iss"]) == ("ES256", "x", "anybody", provider.issuer)


def test_signing_out_tells_the_applications(provider: OpenIDProvider) -> None:
    provider.client(redirect_uris=[BACK], backchannel_logout_uri=f"{provider.issuer}/_control/automatic")
    with Walker(provider.issuer) as walker:
        walker.walk(ask(provider), EMAIL)
        walker.sign_out()
        [notice] = provider.notices()
        assert notice["client"] == CLIENT_ID
        assert walker.walk(ask(provider, prompt="none")).query["error"] == "login_required"


def test_a_person_signs_in_with_the_other_provider(other_openid_provider: OtherProvider) -> None:
    other = other_openid_provider
    other.person("ada-1", email=EMAIL)
    asked = {"client_id": "any", "response_type": "code", "redirect_uri": BACK, "scope": "openid email", "state": "s"}
    address = f"{other.issuer}/oauth2/authorize?{urlencode(asked)}"
    assert other.decline(address).query["error"] == "access_denied"
    arrival = other.sign_in(address, "ada-1")
    told = {"grant_type": "authorization_code", "code": arrival.query["code"], "redirect_uri": BACK}
    answer = httpx2.post(f"{other.issuer}/oauth2/token", data=told, auth=("any", "any"), timeout=30)
    claims = read(answer.json()["id_token"])[1]
    assert (claims["iss"], claims["sub"]) == (other.issuer, "ada-1")


def test_the_command_to_try_a_provider_says_when_its_port_is_taken(
    provider: OpenIDProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = urlsplit(provider.issuer).port
    told = tmp_path / "try.json"
    told.write_text(json.dumps({**json.loads(try_provider.TOLD.read_text()), "port": taken}))
    monkeypatch.setattr(try_provider, "TOLD", told)
    with pytest.raises(SystemExit, match=f"Port {taken} is taken"):
        try_provider.main()


@pytest.mark.parametrize(("said", "is_taken"), [("v18.20.4", False), ("v20.1.0", True), ("nonsense", False)])
def test_a_node_that_is_too_old_gives_way_to_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, is_taken: bool
) -> None:
    here = tmp_path / "node"
    here.write_text(f"#!/bin/sh\necho {said}\n")
    here.chmod(0o755)
    monkeypatch.setenv("NODE_PATH_FOR_TESTS", str(here))
    monkeypatch.setattr(node_packages, "_wheel", lambda: tmp_path / "wheel")
    assert node_packages.node() == (here if is_taken else tmp_path / "wheel" / "bin" / "node")
