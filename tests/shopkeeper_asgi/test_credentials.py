"""Where a request's token is found, and what is refused before anything is asked."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shopkeeper_asgi import AuthenticationFailed, CrossSiteRequest, TokenAmbiguous, TokenInvalid, TokenMissing
from shopkeeper_asgi.credentials import MAX_COOKIES, MAX_TOKEN, Credential, CredentialReader
from shopkeeper_asgi.whoami import COOKIE

READER = CredentialReader(cookies=[COOKIE], origins=["https://www.shop.example"])
BEARER = ("Authorization", "Bearer ory_st_b")
SENT = ("Cookie", f"a=b; {COOKIE}=jar")


class TestPlaces:
    @pytest.mark.parametrize(
        ("headers", "token"),
        [
            ([("session_token", "ory_st_a")], "ory_st_a"),
            ([("Session-Token", "ory_st_a")], "ory_st_a"),  # as WSGI spells it
            ([("X-Session-Token", "ory_st_a")], "ory_st_a"),
            ([BEARER], "ory_st_b"),
            ([("authorization", "bearer   ory_st_b")], "ory_st_b"),
            ([SENT], "jar"),
            ([SENT, BEARER, ("x-session-token", "x"), ("session_token", "s")], "s"),
            ([SENT, BEARER], "ory_st_b"),
            ([("session_token", ""), BEARER], "ory_st_b"),
            ([("session_token", "a"), ("session-token", "a")], "a"),
            ([("session_token", " a\t")], "a"),
        ],
    )
    def test_the_first_place_with_a_token_counts(self, headers: list[tuple[str, str]], token: str) -> None:
        found = READER.read(headers)
        assert found is not None
        assert found.token == token

    @pytest.mark.parametrize(
        "headers",
        [
            [],
            [("session_token", "")],
            [("authorization", "Bearer")],
            [("authorization", "Bearer ")],
            [("authorization", "Basic YTpi")],
            [("cookie", f"{COOKIE}=")],
            [("cookie", f"other_{COOKIE}=a; x")],
            [("cookie", ";;=;")],
            [("x_session_token", "a")],  # a proxy that strips X-Session-Token knows nothing of this one
        ],
    )
    def test_a_request_without_a_token_has_none(self, headers: list[tuple[str, str]]) -> None:
        assert READER.read(headers) is None

    def test_the_sentence_for_a_missing_token_names_the_places(self) -> None:
        with pytest.raises(TokenMissing) as raised:
            READER.require(None)
        assert raised.value.message == (
            "The request has no session token: send it in the header session_token or as Authorization: Bearer "
            "or in the cookie ory_kratos_session."
        )

    def test_all_values_of_the_cookie_go_on_in_their_order(self) -> None:
        sent = "; ".join(f"{COOKIE}={value}" for value in ("a", "b", "a", *(f"c{at}" for at in range(9))))
        assert READER.read([("cookie", sent)]) == Credential(("a", "b", "c0", "c1"), COOKIE)
        assert MAX_COOKIES == 4

    def test_a_credential_does_not_show_its_token(self) -> None:
        assert "ory_st_a" not in repr(Credential(("ory_st_a",)))

    @pytest.mark.parametrize("told", [{"headers": ["a b"]}, {"cookies": ["a\r\nb"]}, {"headers": [], "bearer": False}])
    def test_places_that_cannot_be_are_refused(self, told: dict[str, object]) -> None:
        with pytest.raises(ValueError, match="name"):
            CredentialReader(**told)  # type: ignore[arg-type]

    def test_one_name_is_no_list(self) -> None:
        with pytest.raises(TypeError):
            CredentialReader(cookies="ory_kratos_session")


class TestRefused:
    @pytest.mark.parametrize(
        "token",
        [
            *("a b", "a,b", "a\r\nx-admin: 1", "a\x00", "a;b", 'a"', "ä", "=a", "a=b", "\x7f"),
            "a" * (MAX_TOKEN + 1),
        ],
    )
    def test_a_malformed_token_is_a_wrong_one(self, token: str) -> None:
        with pytest.raises(TokenInvalid):
            READER.read([("session_token", token)])
        with pytest.raises(TokenInvalid):
            READER.read([("authorization", f"Bearer {token}")])

    @pytest.mark.parametrize("value", ["a b", "a,b", 'a"b"', "a\\b", "ä", "a\r\nb", "x" * (MAX_TOKEN + 1)])
    def test_a_malformed_cookie_is_a_wrong_one(self, value: str) -> None:
        with pytest.raises(TokenInvalid):
            READER.read([("cookie", f"{COOKIE}={value}")])

    @pytest.mark.parametrize(
        "headers",
        [
            [("session_token", "a"), ("session_token", "b")],
            [("session_token", "a"), ("session-token", "b")],
            [("authorization", "Bearer a"), ("authorization", "Bearer b")],
        ],
    )
    def test_two_tokens_in_one_place_are_ambiguous(self, headers: list[tuple[str, str]]) -> None:
        with pytest.raises(TokenAmbiguous):
            READER.read(headers)


class TestOtherSites:
    @pytest.mark.parametrize(
        "sent",
        [
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {"sec-fetch-site": "same-site", "origin": "https://blog.shop.example", "host": "shop.example"},
            {"sec-fetch-site": "bogus"},
            {"sec-fetch-site": ""},
            {"origin": "https://blog.shop.example", "host": "shop.example"},
            {"origin": "https://evil.example", "host": "shop.example"},
            {"origin": "null", "host": "shop.example"},
            {"origin": "https://shop.example.evil.example", "host": "shop.example"},
            {"origin": "http://[", "host": "shop.example"},
        ],
    )
    def test_the_cookie_does_not_count_for_what_changes_something(self, sent: dict[str, str]) -> None:
        headers = [SENT, *sent.items()]
        with pytest.raises(CrossSiteRequest):
            READER.read(headers, method="POST")
        with pytest.raises(CrossSiteRequest):
            READER.read(headers, websocket=True)
        assert READER.read(headers) is not None
        assert READER.read([BEARER, *headers], method="POST") == Credential(("ory_st_b",))

    @pytest.mark.parametrize(
        "sent",
        [
            {},
            {"sec-fetch-site": "same-origin", "origin": "https://shop.example", "host": "behind-a-proxy"},
            {"sec-fetch-site": "none"},
            {"origin": "https://www.shop.example", "sec-fetch-site": "same-site"},
            {"origin": "https://shop.example:8443", "host": "shop.example:8443"},
            {"origin": "https://www.shop.example", "sec-fetch-site": "cross-site"},
        ],
    )
    def test_the_cookie_counts_for_the_own_origin_and_those_that_are_named(self, sent: dict[str, str]) -> None:
        assert READER.read([SENT, *sent.items()], method="POST") is not None


LINES = st.lists(
    st.tuples(
        st.sampled_from(["session_token", "session-token", "X-Session-Token", "Authorization", "Cookie", "Origin"]),
        st.one_of(
            st.text(st.characters(max_codepoint=255), max_size=40),
            st.from_regex(r"(Bearer )?[a-zA-Z0-9=;, ]{0,20}", fullmatch=True),
            st.from_regex(rf"({COOKIE}=[ -~]{{0,9}};? ?){{1,6}}", fullmatch=True),
        ),
    ),
    max_size=6,
)


@given(LINES, st.booleans())
def test_whatever_the_headers_are_what_goes_on_cannot_end_a_header(lines: list[tuple[str, str]], ws: bool) -> None:
    try:
        found = READER.read(lines, websocket=ws)
    except AuthenticationFailed:
        return
    if found is not None:
        assert 0 < len(found.values) <= MAX_COOKIES
        assert all(re.fullmatch(r"[!-~]{1,16384}", value) and ";" not in value for value in found.values)
        assert any(found.token in value for _, value in lines)
