"""Cookies: the exact lines that browsers get, how their headers are parsed, and the anti-CSRF value."""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shopkeeper.crypto import mask, new_csrf_token, same, unmask
from shopkeeper.http.cookies import CookiePolicy, cookies_in, csrf_token_in
from tests.conftest import NOW

BASE = "http://127.0.0.1:4433/"
PLAIN = CookiePolicy(base_url=BASE, secure=False)
TOKEN = "shk_st_" + "t" * 43
CSRF = "csrf_token_" + hashlib.sha256(BASE.encode()).hexdigest()


class TestLines:
    def test_the_session_cookie_has_all_attributes(self) -> None:
        line = PLAIN.set_session(TOKEN, expires_at=NOW + timedelta(hours=24), now=NOW)
        assert line == (
            f"ory_kratos_session={TOKEN}; Path=/; Expires=Sun, 15 Mar 2026 15:09:26 GMT; Max-Age=86400; "
            "HttpOnly; SameSite=Lax"
        )

    def test_the_session_cookie_may_end_with_the_browser(self) -> None:
        policy = CookiePolicy(base_url=BASE, persistent=False)
        line = policy.set_session(TOKEN, expires_at=NOW + timedelta(hours=24), now=NOW)
        assert line == f"ory_kratos_session={TOKEN}; Path=/; HttpOnly; Secure; SameSite=Lax"

    def test_the_session_cookie_is_deleted_by_its_line(self) -> None:
        assert PLAIN.delete_session() == [
            "ory_kratos_session=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; HttpOnly; SameSite=Lax"
        ]

    def test_the_anti_csrf_cookie_is_named_after_the_address_and_lives_a_year(self) -> None:
        line = PLAIN.set_csrf(b"\x00" * 32)
        assert line == f"{CSRF}={'A' * 43}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax"
        assert PLAIN.csrf_name == CSRF

    def test_the_visit_cookie_is_always_lax(self) -> None:
        policy = CookiePolicy(base_url=BASE, same_site="None", default_store="fruit")
        line = policy.set_visit("e30..a.b.c", store="fruit", expires_at=NOW + timedelta(minutes=1), now=NOW)
        assert line == "shopkeeper_visit=e30..a.b.c; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax"
        assert policy.delete_visit(store="fruit")[0].endswith("Max-Age=0; HttpOnly; Secure; SameSite=Lax")
        assert policy.delete_session()[0].endswith("SameSite=None")

    def test_the_callback_cookie_belongs_to_the_exact_host(self) -> None:
        policy = CookiePolicy("https://shop.test/", domain="shop.test", path="/account")
        line = policy.set_callback("abc").split("; ")
        assert line[0] == f"{policy.callback_name}=abc" == "__Host-shopkeeper_callback=abc"
        assert {"Path=/", "Secure", "HttpOnly", "SameSite=None"} <= set(line)
        assert not any(part.startswith("Domain=") for part in line)

    def test_visits_to_two_stores_on_one_host_have_two_cookies(self) -> None:
        """Regression: they had one name, so that looking into the second shop lost the cart in the first."""
        policy = CookiePolicy(base_url=BASE, default_store="fruit")
        names = [policy.visit_name(store) for store in ("fruit", "shoes", "shoes@eu")]
        assert names == ["shopkeeper_visit", "shopkeeper_visit_shoes", "shopkeeper_visit_shoes~eu"]

    def test_domain_path_and_name_are_configurable(self) -> None:
        policy = CookiePolicy(base_url=BASE, domain="shop.example", path="/id", same_site="Strict", session_name="who")
        assert policy.delete_session()[0].startswith("who=; Path=/id; Domain=shop.example; ")
        assert policy.delete_session()[0].endswith("; Secure; SameSite=Strict")

    @pytest.mark.parametrize("value", ["a;b", "a\r\nSet-Cookie: b=c", "a b", "ü", 'a"', "a,b", "a\x00"])
    def test_a_value_that_would_end_early_is_refused(self, value: str) -> None:
        with pytest.raises(ValueError, match="cookie value"):
            PLAIN.set_session(value, expires_at=NOW, now=NOW)


@pytest.mark.parametrize("domain", [None, "shop.example"])
@pytest.mark.parametrize("path", ["/", "/id"])
def test_row_042_a_cookie_is_cleared_where_it_was_set(domain: str | None, path: str) -> None:
    """A browser keeps a cookie that is deleted under another name, domain or path."""
    policy = CookiePolicy(base_url=BASE, domain=domain, path=path)
    for line, cleared in (
        (policy.set_session(TOKEN, expires_at=NOW, now=NOW), policy.delete_session()),
        (policy.set_visit("e30..a.b.c", store="fruit", expires_at=NOW, now=NOW), policy.delete_visit(store="fruit")),
    ):
        places = [place_of(each) for each in cleared]
        assert place_of(line) == places[0]
        assert [any("Domain" in part for part in place) for place in places] == ([True, False] if domain else [False])
        assert all("Max-Age=0" in each.split("; ") for each in cleared)


def place_of(line: str) -> list[str]:
    """Return what a browser distinguishes cookies by."""
    name, *attributes = line.split("; ")
    return [name.partition("=")[0], *(part for part in attributes if part.startswith(("Path=", "Domain=")))]


@pytest.mark.parametrize(
    "settings",
    [
        {"session_name": "a b"},
        {"session_name": ""},
        {"path": "id"},
        {"path": "/;Domain=evil.example"},
        {"domain": "a;b"},
        {"domain": "shop.example\n"},
        {"same_site": "None", "secure": False},
        {"session_name": "__Secure-s", "secure": False},
        {"session_name": "__Host-s", "domain": "shop.example"},
        {"session_name": "__Host-s", "path": "/id"},
    ],
    ids=json.dumps,
)
def test_a_policy_that_no_browser_accepts_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cookie"):
        CookiePolicy(base_url=BASE, **settings)


def recorded_cookies(shared: Path) -> dict[tuple[str, str], Sequence[str]]:
    """Return the attributes of every cookie in the recorded HTML conversation, by its name and what was done with
    it."""
    path = shared / "contracts/kratos/conversations/recorded/base/html.json"
    exchanges = json.loads(path.read_text())
    cookies = [cookie for exchange in exchanges for cookie in exchange["response"]["cookies"]]
    return {(name, done): attributes for name, attributes, done in cookies}


@pytest.mark.parametrize(
    ("name", "done", "line"),
    [
        ("ory_kratos_session", "set", PLAIN.set_session(TOKEN, expires_at=NOW + timedelta(1), now=NOW)),
        ("ory_kratos_session", "cleared", PLAIN.delete_session()[0]),
        ("csrf_token_<base-url-hash>", "set", PLAIN.set_csrf(bytes(32))),
    ],
)
def test_attributes_are_those_that_kratos_sends(shared: Path, name: str, done: str, line: str) -> None:
    attributes = [re.sub(r"^(Expires|Max-Age)=.*", r"\1", part) for part in line.split("; ")[1:]]
    assert sorted(attributes) == recorded_cookies(shared)[name, done]


class TestReading:
    @pytest.mark.parametrize(
        ("headers", "cookies"),
        [
            ([], {}),
            ([""], {}),
            (["a=1; b=2"], {"a": ("1",), "b": ("2",)}),
            (["a=1;b=2;"], {"a": ("1",), "b": ("2",)}),
            (["a=1", "b=2"], {"a": ("1",), "b": ("2",)}),  # HTTP/2 may split the header
            (["a=x=y"], {"a": ("x=y",)}),
            (["a="], {"a": ("",)}),
            (["a=1; a=1"], {"a": ("1",)}),
            (["a=1; a=2; b=3"], {"a": ("1", "2"), "b": ("3",)}),
            (["a=1; a=2; a=1"], {"a": ("1", "2")}),
            (["a=1", "a=2"], {"a": ("1", "2")}),
            (["a=1; a=2; a=3; a=4; a=5; b=6"], {"a": ("1", "2", "3", "4"), "b": ("6",)}),
            (["A=1; a=2"], {"A": ("1",), "a": ("2",)}),
            (["a; =1; b c=1; a b=2; c=d e; d=\x00; ü=1; e=ü"], {}),
        ],
    )
    def test_cookie_headers_are_parsed(self, headers: list[str], cookies: dict[str, str]) -> None:
        assert cookies_in(headers) == cookies

    @given(st.lists(st.text()))
    def test_malformed_headers_never_fail(self, headers: list[str]) -> None:
        assert all("=" not in name and ";" not in "".join(values) for name, values in cookies_in(headers).items())

    @given(st.binary(min_size=32, max_size=32))
    def test_a_line_that_was_set_is_read_back(self, token: bytes) -> None:
        found = cookies_in([PLAIN.set_csrf(token).split(";")[0]])
        assert [csrf_token_in(value) for value in found[CSRF]] == [token]


def matches(cookie: str | None, masked: str | None) -> bool:
    """Whether a form's token belongs to a browser's cookie."""
    token = csrf_token_in(cookie)
    return token is not None and same(unmask(masked or ""), token)


class TestCsrf:
    def test_a_form_of_the_same_browser_matches(self) -> None:
        token = new_csrf_token()
        [cookie] = cookies_in([PLAIN.set_csrf(token)])[CSRF]
        assert matches(cookie, mask(token))
        assert matches(cookie, mask(token))

    @pytest.mark.parametrize("length", [0, 1, 30, 31, 33, 34, 36, 64])
    def test_a_value_of_another_length_is_none_of_ours(self, length: int) -> None:
        cookie = base64.urlsafe_b64encode(bytes(length)).rstrip(b"=").decode()
        assert csrf_token_in(cookie) is None
        assert not matches(cookie, mask(bytes(length)))

    def test_values_are_fresh(self) -> None:
        assert len({new_csrf_token() for _ in range(50)}) == 50

    @given(cookie=st.none() | st.text() | st.binary().map(lambda raw: raw.hex()), masked=st.none() | st.text())
    def test_nothing_else_matches(self, cookie: str | None, masked: str | None) -> None:
        assert not matches(cookie, masked)

    @pytest.mark.parametrize(
        "token", [b"", bytes(31), bytes(33), b"\x01" * 32], ids=["none", "short", "long", "foreign"]
    )
    def test_a_short_or_foreign_token_does_not_match(self, token: bytes) -> None:
        assert not matches("A" * 43, mask(token))

    def test_a_missing_token_does_not_match(self) -> None:
        assert not matches("A" * 43, "")
        assert not matches("A" * 43, None)

    @pytest.mark.parametrize("cookie", [None, "", "A" * 42, "A" * 44, "A" * 42 + "B", "A" * 43 + "=", "=" * 4])
    def test_a_missing_or_respelled_cookie_does_not_match(self, cookie: str | None) -> None:
        assert not matches(cookie, mask(bytes(32)))
        assert not matches(cookie, mask(b""))
        assert not matches(cookie, "")
