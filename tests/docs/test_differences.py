"""Intended differences from Kratos that no module's own tests prove: one test for each line of the page."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest

from shopkeeper.errors import ReturnToForbidden
from shopkeeper.flows.return_to import ReturnAddresses
from shopkeeper.settings import findings, load
from tests.services.shopkeeper_server import Commerce

PASSWORD = "plum-tart-93-window"
HOME = "https://accounts.example.org/"
ADDRESSES = ReturnAddresses(default=f"{HOME}account", allowed=["https://shop.example.org/app"], base_url=HOME)


def call(
    url: str, fields: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, Mapping[str, str], Any]:
    """Send a request; return status, headers and document of the answer, also of a refusal."""
    body = None if fields is None else json.dumps(fields).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, dict(answer.headers), json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, dict(refused.headers), json.load(refused)


def make_account(shop: Commerce) -> str:
    """Create an account; return its address."""
    address = f"{uuid4().hex[:12]}@example.org"
    credentials = {"password": {"config": {"password": PASSWORD}}}
    fields = {"schema_id": "default", "traits": {"email": address}, "credentials": credentials}
    assert call(f"{shop.admin}/identities", fields)[0] == 201
    return address


def open_sign_in(shop: Commerce) -> str:
    return str(call(f"{shop.public}/self-service/login/api")[2]["ui"]["action"])


def sign_in(shop: Commerce, address: str, action: str) -> tuple[int, Any]:
    status, _, answer = call(action, {"method": "password", "identifier": address, "password": PASSWORD})
    return status, answer


def test_a_finished_sign_in_is_finished(shop: Commerce) -> None:
    address, action = make_account(shop), open_sign_in(shop)
    assert sign_in(shop, address, action)[0] == 200
    status, answer = sign_in(shop, address, action)
    assert (status, answer["error"]["id"]) == (410, "self_service_flow_expired")


def test_tokens_say_whose_they_are(shop: Commerce) -> None:
    _, answer = sign_in(shop, make_account(shop), open_sign_in(shop))
    token = answer["session_token"]
    assert token.startswith("shk_st_")
    _, _, link = call(f"{shop.public}/self-service/logout/browser", headers={"cookie": f"ory_kratos_session={token}"})
    assert link["logout_token"].startswith("shk_lo_")


def test_whoami_sets_no_cookie_for_a_session_that_was_extended(shop: Commerce) -> None:
    _, answer = sign_in(shop, make_account(shop), open_sign_in(shop))
    extend = urllib.request.Request(f"{shop.admin}/sessions/{answer['session']['id']}/extend", method="PATCH")
    with urllib.request.urlopen(extend, timeout=30) as extended:
        ends_at = json.load(extended)["expires_at"]
    cookie = {"cookie": f"ory_kratos_session={answer['session_token']}"}
    _, headers, whoami = call(f"{shop.public}/sessions/whoami", headers=cookie)
    assert (whoami["expires_at"], "set-cookie" in {name.lower() for name in headers}) == (ends_at, False)


def test_page_tokens_are_sealed(shop: Commerce) -> None:
    for _ in range(2):
        make_account(shop)
    _, headers, _ = call(f"{shop.admin}/identities?page_size=1")
    [following] = [part for part in headers["link"].split(",<") if 'rel="next"' in part]
    token = following.partition("page_token=")[2].partition(">")[0]
    with pytest.raises(ValueError, match="badly formed"):
        UUID(token)
    status, headers, _ = call(f"{shop.admin}/sessions?page_token={token}")
    assert (status, headers["x-error-code"]) == (400, "invalid_page_token")


@pytest.mark.parametrize("wanted", ["https://shop.example.org/app", "https://shop.example.org/app/cart?a=b"])
def test_a_return_path_covers_what_is_below_it(wanted: str) -> None:
    assert ADDRESSES.check(wanted) == wanted


@pytest.mark.parametrize("wanted", ["https://shop.example.org/apple", "https://shop.example.org/app/../admin"])
def test_a_return_path_covers_what_is_below_it_only(wanted: str) -> None:
    with pytest.raises(ReturnToForbidden):
        ADDRESSES.check(wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        "https://shop.example.org\\@evil.example/app",
        "https://shop.example.org@evil.example/app",
        "https://shop.example.org/app%5c..",
        "https://shop.example.org/app\t",
        " https://shop.example.org/app",
        "//evil.example/app",
        "javascript:alert(1)//shop.example.org/app",
    ],
)
def test_what_browsers_misread_is_no_return_address(wanted: str) -> None:
    with pytest.raises(ReturnToForbidden):
        ADDRESSES.check(wanted)


@pytest.mark.parametrize("wanted", ["/account", f"{HOME}self-service/login/browser", HOME])
def test_our_own_pages_are_always_a_place_to_return_to(wanted: str) -> None:
    assert str(ADDRESSES.check(wanted)).startswith(HOME)


def test_what_is_safe_needs_no_setting() -> None:
    settings = load([], {}, dev=False, demo=False)
    assert settings.security.account_enumeration.mitigate
    assert settings.clients.http.disallow_private_ip_ranges
    assert settings.serve.public.cors.allowed_origins == ()


def test_hashes_are_argon2id_whatever_the_file_says() -> None:
    settings = load([], {"HASHERS_ALGORITHM": "bcrypt"}, dev=False, demo=False)
    [told] = [finding for finding in settings.not_in_effect() if finding.path == "hashers.algorithm"]
    assert "Argon2id" in told.sentence


def test_the_admin_api_wants_a_key() -> None:
    told = findings(load([], {}, dev=False, demo=False))
    assert ("error", "admin.api_keys") in {(finding.level, finding.path) for finding in told}
