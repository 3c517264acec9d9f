"""Userinfo: the claims of OAuth 2 providers by data, and never those of another user."""

import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shopkeeper.openid.errors import ProviderAnswerInvalid
from shopkeeper.openid.provider import Endpoints, UserinfoRequest, UserinfoShape
from shopkeeper.openid.userinfo import value_at
from tests.openid.scripted import ARRIVING, DROP, SECRET, ScriptedProvider, query, signed

GITHUB = UserinfoShape(
    name="user",
    claims={
        "sub": "user.id",
        "name": ("user.name", "user.login"),
        "email": ("emails.?primary.email", "user.email"),
        "email_verified": "emails.?primary.verified",
    },
)


def oauth2(idp: ScriptedProvider, shape: UserinfoShape, **changed: Any) -> Any:
    """Return a client of a provider without OpenID."""
    endpoints = Endpoints(token=idp.server.url("/token"), userinfo=idp.server.url("/user"))
    idp.answer("/token", idp.tokens(id_token=DROP))
    return idp.client(discovers=False, endpoints=endpoints, scope=("email",), userinfo=shape, **changed)


async def refused_cause(client: Any) -> str:
    with pytest.raises(ProviderAnswerInvalid) as refused:
        await client.authenticate(query(), **ARRIVING)
    assert "at-1" not in str(refused.value)
    return refused.value.cause


class TestBesideAnIdToken:
    async def test_claims_of_both(self, idp: ScriptedProvider) -> None:
        client = idp.client(claims_source="userinfo")
        idp.answer("/userinfo", {"sub": "alice", "email": "new@example.com", "aud": "evil", "acr": "high"})
        found = await client.authenticate(query(), **ARRIVING)
        assert found.claims == {**idp.claims(), "email": "new@example.com"}
        assert found.raw_claims["acr"] == "high"
        assert "Authorization: Bearer at-1" in idp.last("/userinfo")[0]

    @pytest.mark.parametrize("sub", ["mallory", "", None, 7, ["alice"], DROP])
    async def test_the_userinfo_of_another_user(self, idp: ScriptedProvider, sub: Any) -> None:
        answer = {"email": "a@example.com"} if sub is DROP else {"sub": sub, "email": "a@example.com"}
        idp.answer("/userinfo", answer)
        assert await refused_cause(idp.client(claims_source="userinfo")) == "userinfo_subject"

    async def test_it_is_not_asked_where_the_id_token_says_all(self, idp: ScriptedProvider) -> None:
        await idp.client().authenticate(query(), **ARRIVING)
        assert idp.asked("/userinfo") == 0

    async def test_the_subject_that_counts_may_be_another_claim(self, idp: ScriptedProvider) -> None:
        idp.answer("/token", idp.tokens(signed(idp.claims(oid="o-7"))))
        found = await idp.client(claims_source="userinfo", subject_claim="oid").authenticate(query(), **ARRIVING)
        assert found.subject == "o-7"

    async def test_signed_userinfo_is_named(self, idp: ScriptedProvider) -> None:
        idp.answer("/userinfo", b"a.b.c", Content_Type="application/jwt; charset=utf-8")
        assert await refused_cause(idp.client(claims_source="userinfo")) == "userinfo_signed"

    @pytest.mark.parametrize(
        ("body", "cause"),
        [
            (b"[]", "userinfo"),
            (b"nonsense", "not_json"),
            (b'{"sub": "alice", "x": "' + b"x" * 70_000 + b'"}', "too_large"),
            (b'{"sub": "alice", "x": ' + b"[" * 40 + b"]" * 40 + b"}", "not_json"),
        ],
    )
    async def test_what_is_no_userinfo(self, idp: ScriptedProvider, body: bytes, cause: str) -> None:
        idp.answer("/userinfo", body)
        assert await refused_cause(idp.client(claims_source="userinfo")) == cause

    async def test_a_refused_token(self, idp: ScriptedProvider) -> None:
        idp.answer("/userinfo", {}, status="401 Unauthorized")
        assert await refused_cause(idp.client(claims_source="userinfo")) == "userinfo_status"


class TestWithoutOpenId:
    async def test_two_requests_as_github_has_them(self, idp: ScriptedProvider) -> None:
        shape = _with_emails(idp)
        idp.answer("/user", {"id": 583231, "login": "octocat", "name": None, "sub": "forged", "admin": True})
        emails = [
            {"email": "a@x.example", "primary": False},
            {"email": "b@x.example", "primary": True, "verified": True},
        ]
        idp.answer("/emails", emails)
        found = await oauth2(idp, shape).authenticate(query(), **ARRIVING)
        assert (found.issuer, found.subject) == (idp.issuer, "583231")
        assert found.claims == {
            "iss": idp.issuer,
            "sub": "583231",
            "name": "octocat",
            "email": "b@x.example",
            "email_verified": True,
        }
        assert found.raw_claims == {"user": found.raw_claims["user"], "emails": emails}
        assert found.id_token is None

    async def test_the_further_request_may_be_refused_where_it_is_optional(self, idp: ScriptedProvider) -> None:
        idp.answer("/user", {"id": 1, "login": "octocat", "email": "public@x.example"})
        idp.answer("/emails", {}, status="403 Forbidden")
        found = await oauth2(idp, _with_emails(idp, optional=True)).authenticate(query(), **ARRIVING)
        assert (found.claims["email"], "email_verified" in found.claims) == ("public@x.example", False)
        assert await refused_cause(oauth2(idp, _with_emails(idp))) == "userinfo_status"

    async def test_texts_constants_headers_and_parameters(self, idp: ScriptedProvider) -> None:
        shape = UserinfoShape(
            claims={"sub": "data.0.id", "email": "data.0.mail"},
            texts={"picture": "https://cdn.example/{data.0.id}/{data.0.avatar}.png", "website": "{data.0.none}"},
            constants={"email_verified": False},
            headers={"Client-Id": "shop"},
            parameters={"fields": "id,mail", "appsecret_proof": "{appsecret_proof}"},
        )
        idp.answer("/user", {"data": [{"id": "u1", "mail": "u1@x.example", "avatar": "a9"}]})
        found = await oauth2(idp, shape).authenticate(query(), **ARRIVING)
        assert found.claims == {
            "iss": idp.issuer,
            "sub": "u1",
            "email": "u1@x.example",
            "picture": "https://cdn.example/u1/a9.png",
            "email_verified": False,
        }
        head, _ = idp.last("/user")
        proof = hmac.new(SECRET.encode(), b"at-1", hashlib.sha256).hexdigest()
        assert head.startswith(f"GET /user?fields=id%2Cmail&appsecret_proof={proof} ")
        assert "Client-Id: shop" in head

    async def test_a_token_that_goes_elsewhere_than_into_the_usual_header(self, idp: ScriptedProvider) -> None:
        shape = UserinfoShape(bearer=None, headers={"X-Access-Token": "{access_token}"})
        idp.answer("/user", {"sub": "u1"})
        await oauth2(idp, shape).authenticate(query(), **ARRIVING)
        head, _ = idp.last("/user")
        assert "X-Access-Token: at-1" in head
        assert "Authorization" not in head

    async def test_the_token_answer_may_tell_the_address(self, idp: ScriptedProvider) -> None:
        shape = UserinfoShape(name="user", token="token", claims={"sub": "user.response.0.id", "email": "token.email"})
        client = oauth2(idp, shape)
        idp.answer("/token", idp.tokens(id_token=DROP, email="vk@x.example"))
        idp.answer("/user", {"response": [{"id": 5}]})
        found = await client.authenticate(query(), **ARRIVING)
        assert (found.subject, found.claims["email"]) == ("5", "vk@x.example")
        assert found.access_token == "at-1"
        assert "at-1" not in str(found.raw_claims)

    @pytest.mark.parametrize("answer", [{}, {"id": None}, {"id": ""}, {"id": True}, {"id": ["1"]}, {"id": "x" * 256}])
    async def test_an_answer_that_names_no_user(self, idp: ScriptedProvider, answer: Any) -> None:
        idp.answer("/user", answer)
        assert await refused_cause(oauth2(idp, UserinfoShape(claims={"sub": "id"}))) == "userinfo_subject"

    async def test_no_endpoint(self, idp: ScriptedProvider) -> None:
        endpoints = Endpoints(token=idp.server.url("/token"))
        client = idp.client(discovers=False, endpoints=endpoints, scope=())
        assert await refused_cause(client) == "userinfo"


class TestNamesOfTheAnswer:
    SHAPE = UserinfoShape(answer={"given_name": "user.name.firstName", "family_name": "user.name.lastName"})

    async def test_apple_tells_them_there(self, idp: ScriptedProvider) -> None:
        client = idp.client(userinfo=self.SHAPE)
        answer = query(user='{"name":{"firstName":"Ann","lastName":"Lee"},"email":"forged@x.example"}')
        found = await client.authenticate(answer, **ARRIVING)
        assert (found.claims["given_name"], found.claims["family_name"]) == ("Ann", "Lee")
        assert "email" not in found.claims

    async def test_the_id_token_wins(self, idp: ScriptedProvider) -> None:
        idp.answer("/token", idp.tokens(signed(idp.claims(given_name="Alice"))))
        found = await idp.client(userinfo=self.SHAPE).authenticate(
            query(user='{"name":{"firstName":"Mallory"}}'), **ARRIVING
        )
        assert found.claims["given_name"] == "Alice"

    @pytest.mark.parametrize(
        "user", ["", "nonsense", "[]", '{"name": 7}', '{"name":{"firstName":["x"]}}', "x" * 9_000, "[" * 4_000]
    )
    async def test_what_cannot_be_read_tells_nothing(self, idp: ScriptedProvider, user: str) -> None:
        found = await idp.client(userinfo=self.SHAPE).authenticate(query(user=user), **ARRIVING)
        assert found.claims == idp.claims()

    @pytest.mark.parametrize("claim", ["sub", "email", "email_verified", "phone_number"])
    def test_no_preset_takes_more_than_names_from_a_browser(self, claim: str) -> None:
        with pytest.raises(ValueError, match=claim):
            UserinfoShape(answer={claim: "user.x"})


class TestPaths:
    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.sampled_from(["a", "b"]),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab?0"), inner, max_size=3),
            max_leaves=8,
        ),
        st.text(alphabet="ab?0.19", max_size=12),
    )
    def test_no_answer_makes_a_path_fail(self, document: Any, path: str) -> None:
        value_at(document, path)

    def test_several_answers_need_names(self) -> None:
        with pytest.raises(ValueError, match="name"):
            UserinfoShape(further=(UserinfoRequest("emails", "https://x.example"),))


def _with_emails(idp: ScriptedProvider, *, optional: bool = False) -> UserinfoShape:
    from dataclasses import replace

    return replace(GITHUB, further=(UserinfoRequest("emails", idp.server.url("/emails"), optional=optional),))
