"""The way to a provider and back: PKCE, client authentication, the issuer of the answer, and refusals."""

import base64
import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from shopkeeper.openid.authorization import code_challenge
from shopkeeper.openid.client import OpenIDClient
from shopkeeper.openid.errors import AuthorizationRefused, ProviderAnswerInvalid, ProviderUnavailable
from shopkeeper.openid.presets import PRESETS
from shopkeeper.openid.provider import Endpoints, SigningSecret, TokenShape, UserinfoShape
from shopkeeper.transaction_guard import CalledInsideTransaction, TransactionScope
from tests.openid.scripted import (
    ARRIVING,
    DROP,
    NONCE,
    REDIRECT,
    SECRET,
    VERIFIER,
    WELL_KNOWN,
    ScriptedProvider,
    query,
    signed,
)

LEAVING: dict[str, Any] = {"redirect_uri": REDIRECT, "state": "s-1", "nonce": NONCE, "code_verifier": VERIFIER}
# RFC 7636 appendix B.
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


async def leaving(client: OpenIDClient, **more: Any) -> dict[str, str]:
    url = await client.authorization_url(**{**LEAVING, **more})
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


class TestLeaving:
    async def test_the_request(self, client: OpenIDClient) -> None:
        assert await leaving(client) == {
            "client_id": "shop",
            "redirect_uri": REDIRECT,
            "response_type": "code",
            "scope": "openid",
            "state": "s-1",
            "nonce": NONCE,
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }

    @pytest.mark.parametrize(
        ("pkce", "offered", "used"),
        [
            ("auto", ["S256"], True),
            ("auto", ["plain"], False),
            ("auto", DROP, False),
            ("auto", None, False),
            ("force", DROP, True),
            ("never", ["S256"], False),
        ],
    )
    async def test_pkce(self, idp: ScriptedProvider, pkce: Any, offered: Any, used: bool) -> None:
        idp.answer(WELL_KNOWN, idp.metadata(code_challenge_methods_supported=offered))
        client = idp.client(pkce=pkce)
        verifier = await client.new_code_verifier()
        assert verifier != await client.new_code_verifier() or not used
        assert (43 <= len(verifier) <= 128) if verifier is not None else not used
        challenge = (code_challenge(verifier), "S256") if verifier is not None else (None, None)
        sent = await leaving(client, code_verifier=verifier)
        assert (sent.get("code_challenge"), sent.get("code_challenge_method")) == challenge
        await client.authenticate(query(), **{**ARRIVING, "code_verifier": verifier})
        assert idp.last("/token")[1].get("code_verifier") == verifier

    @pytest.mark.parametrize(("before", "after"), [(["S256"], DROP), (DROP, ["S256"])])
    async def test_the_way_back_repeats_what_the_way_there_has_decided(
        self, idp: ScriptedProvider, client: OpenIDClient, before: Any, after: Any
    ) -> None:
        """A verifier without a challenge is refused, and the other way round (RFC 9700 section 4.8.2)."""
        idp.answer(WELL_KNOWN, idp.metadata(code_challenge_methods_supported=before))
        verifier = await client.new_code_verifier()
        sent = await leaving(client, code_verifier=verifier)
        idp.answer(WELL_KNOWN, idp.metadata(code_challenge_methods_supported=after))
        idp.clock.advance(hours=2)
        idp.answer("/token", idp.tokens(signed(idp.claims())))
        await client.authenticate(query(), **{**ARRIVING, "code_verifier": verifier})
        assert (idp.asked(WELL_KNOWN), "code_challenge" in sent) == (2, before is not DROP)
        assert idp.last("/token")[1].get("code_verifier") == verifier

    async def test_what_a_request_adds_replaces_nothing_that_the_protocol_needs(self, idp: ScriptedProvider) -> None:
        client = idp.client(
            authorization_parameters={"response_mode": "form_post", "client_id": "evil"},
            requested_claims={"id_token": {"email": None}},
        )
        added = {"prompt": "none", "login_hint": "a&b", "redirect_uri": "https://evil.example", "state": "x"}
        sent = await leaving(client, parameters=added)
        assert (sent["prompt"], sent["login_hint"], sent["response_mode"]) == ("none", "a&b", "form_post")
        assert (sent["client_id"], sent["redirect_uri"], sent["state"]) == ("shop", REDIRECT, "s-1")
        assert sent["claims"] == '{"id_token":{"email":null}}'

    async def test_no_nonce_where_none_comes_back(self, idp: ScriptedProvider) -> None:
        client = idp.client(sends_nonce=False)
        assert "nonce" not in await leaving(client)
        idp.answer("/token", idp.tokens(signed(idp.claims(nonce=DROP))))
        assert (await client.authenticate(query(), **ARRIVING)).subject == "alice"

    async def test_no_scope_leaves_room_for_one_that_is_no_scope_of_ours(self, idp: ScriptedProvider) -> None:
        client = idp.client(scope=(), authorization_parameters={"scope": "openid"})
        assert (await leaving(client))["scope"] == "openid"
        assert not client.provider.has_id_token
        assert "scope" not in await leaving(idp.client(scope=()))

    async def test_an_endpoint_with_a_query_keeps_it(self, idp: ScriptedProvider) -> None:
        client = idp.client(endpoints=Endpoints(authorization="https://idp.example/auth?realm=a%20b"))
        assert (await leaving(client))["realm"] == "a b"


class TestRedeeming:
    async def test_what_comes_back(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        token = signed(idp.claims(email="alice@example.com", email_verified=True, sid="s-9"))
        idp.answer("/token", idp.tokens(token, refresh_token="rt-1"))
        found = await client.authenticate(query(), **ARRIVING)
        assert (found.issuer, found.subject, found.sid) == (idp.issuer, "alice", "s-9")
        assert (found.access_token, found.refresh_token, found.expires_in) == ("at-1", "rt-1", 3600)
        assert found.id_token == token
        assert found.claims == found.raw_claims == idp.claims(email="alice@example.com", email_verified=True, sid="s-9")
        assert "at-1" not in repr(found)

    async def test_what_is_sent(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        await client.authenticate(query("c/1"), **ARRIVING)
        head, form = idp.last("/token")
        assert form == {
            "grant_type": "authorization_code",
            "code": "c/1",
            "redirect_uri": REDIRECT,
            "code_verifier": VERIFIER,
        }
        assert "Accept: application/json" in head

    @pytest.mark.parametrize(
        ("offered", "chosen", "way"),
        [
            (DROP, None, "basic"),
            (["client_secret_post", "client_secret_basic"], None, "basic"),
            (["private_key_jwt", "client_secret_post"], None, "post"),
            (["client_secret_basic"], "client_secret_post", "post"),
            (["client_secret_post"], "client_secret_basic", "basic"),
        ],
    )
    async def test_client_authentication(self, idp: ScriptedProvider, offered: Any, chosen: Any, way: str) -> None:
        idp.answer(WELL_KNOWN, idp.metadata(token_endpoint_auth_methods_supported=offered))
        await idp.client(token_auth=chosen).authenticate(query(), **ARRIVING)
        head, form = idp.last("/token")
        basic = base64.b64encode(f"shop:{SECRET}".encode()).decode()
        assert (f"Basic {basic}" in head) == (way == "basic")
        assert (form.get("client_secret"), form.get("client_id")) == (
            (SECRET, "shop") if way == "post" else (None, None)
        )

    async def test_credentials_are_encoded_before_they_are_joined(self, idp: ScriptedProvider) -> None:
        idp.answer("/token", idp.tokens(signed(idp.claims(aud="a:b"))))
        await idp.client(client_id="a:b", client_secret="c d:ü%").authenticate(query(), **ARRIVING)
        basic = base64.b64encode(b"a%3Ab:c+d%3A%C3%BC%25").decode()
        assert f"Authorization: Basic {basic}\r\n" in idp.last("/token")[0]

    async def test_a_public_client(self, idp: ScriptedProvider) -> None:
        await idp.client(client_secret=None).authenticate(query(), **ARRIVING)
        head, form = idp.last("/token")
        assert form["client_id"] == "shop"
        assert "Authorization" not in head

    async def test_a_provider_that_wants_what_we_do_not_have(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        idp.answer(WELL_KNOWN, idp.metadata(token_endpoint_auth_methods_supported=["tls_client_auth"]))
        with pytest.raises(ProviderAnswerInvalid, match="client_secret_basic"):
            await client.authenticate(query(), **ARRIVING)

    async def test_expires_in_may_be_text_and_is_never_nonsense(
        self, idp: ScriptedProvider, client: OpenIDClient
    ) -> None:
        for sent, read in [("3600", 3600), (3599.5, 3599), ("soon", None), (-1, None), (10**30, None), (None, None)]:
            idp.answer("/token", idp.tokens(expires_in=sent))
            assert (await client.authenticate(query(), **ARRIVING)).expires_in == read


class TestTokenEndpointsOfTheirOwnKind:
    async def test_json_with_other_names(self, idp: ScriptedProvider) -> None:
        shape = TokenShape(
            json=True,
            request={"client_id": "clientId", "client_secret": "clientSecret", "grant_type": "grantType"},
            answer={"access_token": "accessToken", "expires_in": "expireIn"},
        )
        idp.answer("/token", {"accessToken": "at-9", "expireIn": 7200})
        client = idp.client(token_shape=shape, token_auth="client_secret_post", scope=(), client_id="d:1")
        found = await client.authenticate(query(), **{**ARRIVING, "code_verifier": None})
        assert (found.subject, found.access_token, found.expires_in) == ("alice", "at-9", 7200)
        assert "Content-Type: application/json" in idp.last("/token")[0]
        assert json.loads(idp.server.bodies[idp.server.heads.index(idp.last("/token")[0])]) == {
            "clientId": "d:1",
            "clientSecret": SECRET,
            "grantType": "authorization_code",
            "code": "c-1",
            "redirect_uri": REDIRECT,
        }


class TestAppleSecret:
    KEY = ECKey.generate_key("P-256")

    def client(self, idp: ScriptedProvider) -> OpenIDClient:
        secret = SigningSecret(self.KEY.as_pem(private=True).decode(), "KEY1", "TEAM1", lifetime=timedelta(minutes=10))
        return idp.client(client_secret=secret)

    async def test_it_is_a_token_of_our_own(self, idp: ScriptedProvider) -> None:
        await self.client(idp).authenticate(query(), **ARRIVING)
        sent = jwt.decode(idp.last("/token")[1]["client_secret"], self.KEY, algorithms=["ES256"])
        now = int(idp.clock.now().timestamp())
        assert (sent.header["alg"], sent.header["kid"]) == ("ES256", "KEY1")
        assert sent.claims == {
            "iss": "TEAM1",
            "sub": "shop",
            "aud": "https://appleid.apple.com",
            "iat": now,
            "exp": now + 600,
        }

    async def test_it_is_made_anew_before_it_ends(self, idp: ScriptedProvider) -> None:
        client = self.client(idp)

        async def sent() -> str:
            idp.answer("/token", idp.tokens())
            await client.authenticate(query(), **ARRIVING)
            return idp.last("/token")[1]["client_secret"]

        first = await sent()
        idp.clock.advance(minutes=8)
        assert await sent() == first
        idp.clock.advance(minutes=1, seconds=1)
        assert await sent() != first

    def test_its_key_is_not_printed(self) -> None:
        assert "BEGIN" not in repr(SigningSecret(self.KEY.as_pem(private=True).decode(), "KEY1", "TEAM1"))


class TestRefusals:
    async def test_the_user_refused(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        answer = {"error": "access_denied", "error_description": "No,\r\n\x1b[31mthanks " + "x" * 5_000}
        with pytest.raises(AuthorizationRefused) as refused:
            await client.authenticate(answer, **ARRIVING)
        assert refused.value.error == "access_denied"
        assert refused.value.description is not None
        assert refused.value.description.startswith("No, [31mthanks xxx")
        assert len(refused.value.description) == 200
        assert "thanks" not in refused.value.sentence
        assert idp.asked("/token") == 0

    async def test_silent_sign_on_found_nobody(self, client: OpenIDClient) -> None:
        with pytest.raises(AuthorizationRefused) as refused:
            await client.authenticate({"error": "login_required"}, **ARRIVING)
        assert refused.value.error == "login_required"

    @pytest.mark.parametrize("error", ["<script>", "", "x" * 100, "a\nb"])
    async def test_an_error_is_a_word_or_unreadable(self, client: OpenIDClient, error: str) -> None:
        with pytest.raises(AuthorizationRefused) as refused:
            await client.authenticate({"error": error, "code": "c-1"}, **ARRIVING)
        assert refused.value.error == "unreadable_error"

    @pytest.mark.parametrize("answer", [{}, {"code": ""}, {"code": "x" * 5_000}, {"code": "a\nb"}, {"response": "jwt"}])
    async def test_an_answer_without_a_code(
        self, idp: ScriptedProvider, client: OpenIDClient, answer: dict[str, str]
    ) -> None:
        with pytest.raises(ProviderAnswerInvalid) as refused:
            await client.authenticate(answer, **ARRIVING)
        assert (refused.value.cause, idp.asked("/token")) == ("no_code", 0)

    @pytest.mark.parametrize("status", ["400 Bad Request", "200 OK"])
    @pytest.mark.parametrize("error", ["invalid_grant", "bad_verification_code"])
    async def test_a_code_that_was_used_before(
        self, idp: ScriptedProvider, client: OpenIDClient, status: str, error: str
    ) -> None:
        idp.answer("/token", {"error": error, "error_description": "code c-1 was used"}, status=status)
        with pytest.raises(AuthorizationRefused) as refused:
            await client.authenticate(query("c-1"), **ARRIVING)
        assert refused.value.error == error

    async def test_a_wrong_secret_is_our_mistake(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        idp.answer("/token", {"error": "invalid_client", "error_description": SECRET}, status="401 Unauthorized")
        with pytest.raises(ProviderAnswerInvalid) as refused:
            await client.authenticate(query(), **ARRIVING)
        assert refused.value.cause == "invalid_client"
        assert SECRET not in str(refused.value)

    @pytest.mark.parametrize(
        ("changed", "cause"),
        [
            ({"id_token": DROP}, "no_id_token"),
            ({"id_token": None}, "no_id_token"),
            ({"id_token": DROP, "access_token": DROP}, "no_tokens"),
            ({"id_token": 7}, "token_answer"),
            ({"access_token": ["a"]}, "token_answer"),
            ({"token_type": "mac"}, "token_type"),
            ({"error": {"code": 7}}, "unreadable_error"),
        ],
    )
    async def test_an_answer_that_is_not_valid(
        self, idp: ScriptedProvider, client: OpenIDClient, changed: dict[str, Any], cause: str
    ) -> None:
        idp.answer("/token", idp.tokens(**changed))
        with pytest.raises(ProviderAnswerInvalid) as refused:
            await client.authenticate(query(), **ARRIVING)
        assert refused.value.cause == cause

    @pytest.mark.parametrize("body", [b"", b"access_token=a&id_token=b", b"[]", b"\x00"])
    async def test_an_answer_that_is_no_json(self, idp: ScriptedProvider, client: OpenIDClient, body: bytes) -> None:
        idp.answer("/token", body)
        with pytest.raises(ProviderAnswerInvalid):
            await client.authenticate(query(), **ARRIVING)

    async def test_a_redirect_does_not_take_the_code_elsewhere(
        self, idp: ScriptedProvider, client: OpenIDClient
    ) -> None:
        idp.answer("/token", b"", status="307 Temporary Redirect", Location=idp.server.url("/evil"))
        with pytest.raises(ProviderAnswerInvalid):
            await client.authenticate(query(), **ARRIVING)
        assert idp.asked("/evil") == 0

    async def test_a_server_error_is_the_providers(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        idp.answer("/token", b"oops", status="500 Internal Server Error")
        with pytest.raises(ProviderUnavailable):
            await client.authenticate(query(), **ARRIVING)


def without_metadata(idp: ScriptedProvider) -> dict[str, Any]:
    """Return what makes the provider one that speaks OAuth 2 only; its user is 583231."""
    idp.answer("/token", idp.tokens(id_token=DROP))
    idp.answer("/user", {"id": 583231})
    endpoints = Endpoints(token=idp.server.url("/token"), userinfo=idp.server.url("/user"))
    shape = UserinfoShape(claims={"sub": "id"})
    return {"discovers": False, "endpoints": endpoints, "scope": ("email",), "userinfo": shape}


class TestMixUp:
    @pytest.mark.parametrize("iss", ["https://evil.example", "", "http://127.0.0.1"])
    @pytest.mark.parametrize("answer", [{"code": "c-1"}, {"error": "access_denied"}])
    async def test_the_answer_of_another_provider(
        self, idp: ScriptedProvider, client: OpenIDClient, iss: str, answer: dict[str, str]
    ) -> None:
        with pytest.raises(ProviderAnswerInvalid) as refused:
            await client.authenticate({**answer, "iss": iss}, **ARRIVING)
        assert (refused.value.cause, idp.asked("/token")) == ("mix_up", 0)

    async def test_an_answer_without_issuer_where_the_provider_names_itself(
        self, idp: ScriptedProvider, client: OpenIDClient
    ) -> None:
        idp.answer(WELL_KNOWN, idp.metadata(authorization_response_iss_parameter_supported=True))
        with pytest.raises(ProviderAnswerInvalid) as refused:
            await client.authenticate(query(), **ARRIVING)
        assert (refused.value.cause, idp.asked("/token")) == ("no_iss", 0)

    async def test_the_issuer_itself(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        idp.answer(WELL_KNOWN, idp.metadata(authorization_response_iss_parameter_supported=True))
        assert (await client.authenticate(query(iss=idp.issuer), **ARRIVING)).subject == "alice"

    @pytest.mark.parametrize("name", ["github", "github-app"])
    async def test_github_answers_by_a_name_of_its_own(self, idp: ScriptedProvider, name: str) -> None:
        preset = PRESETS[name]
        client = idp.client(issuer=preset.issuer, issuer_aliases=preset.issuer_aliases, **without_metadata(idp))
        found = await client.authenticate(query(iss="https://github.com/login/oauth"), **ARRIVING)
        assert (found.issuer, found.subject) == ("https://github.com", "583231")

    async def test_the_name_of_a_provider_without_metadata_is_not_known(self, idp: ScriptedProvider) -> None:
        client = idp.client(issuer="https://discord.com", **without_metadata(idp))
        found = await client.authenticate(query(iss="https://discord.com/oauth2"), **ARRIVING)
        assert (found.issuer, found.subject) == ("https://discord.com", "583231")

    @pytest.mark.parametrize("iss", ["https://a.example", "https://alias.example", "https://login.example/t1/v2.0"])
    async def test_but_the_names_of_the_other_providers_are(self, idp: ScriptedProvider, iss: str) -> None:
        others = [
            idp.provider(issuer="https://a.example", issuer_aliases=("https://alias.example",)),
            idp.provider(issuer_template="https://login.example/{tenantid}/v2.0"),
        ]
        client = idp.client(others=others, issuer="https://discord.com", **without_metadata(idp))
        with pytest.raises(ProviderAnswerInvalid) as refused:
            await client.authenticate(query(iss=iss), **ARRIVING)
        assert (refused.value.cause, idp.asked("/token")) == ("mix_up", 0)


class TestSigningOut:
    async def test_the_address(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        url = await client.end_session_url(
            id_token_hint="a.b.c", post_logout_redirect_uri="https://shop.example/?a=b", state="s"
        )
        assert url is not None
        assert url.startswith(idp.server.url("/logout?"))
        assert parse_qs(urlsplit(url).query) == {
            "client_id": ["shop"],
            "id_token_hint": ["a.b.c"],
            "post_logout_redirect_uri": ["https://shop.example/?a=b"],
            "state": ["s"],
        }

    async def test_a_hint_that_is_too_long_for_an_address_is_left_out(self, client: OpenIDClient) -> None:
        url = await client.end_session_url(id_token_hint="x" * 9_000, post_logout_redirect_uri=None, state=None)
        assert url is not None
        assert parse_qs(urlsplit(url).query) == {"client_id": ["shop"]}

    async def test_a_provider_without_it(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        idp.answer(WELL_KNOWN, idp.metadata(end_session_endpoint=DROP))
        assert await client.end_session_url(id_token_hint=None, post_logout_redirect_uri=None, state=None) is None


class TestTransactions:
    async def test_nothing_happens_inside_a_transaction_even_where_all_is_known(
        self, idp: ScriptedProvider, client: OpenIDClient
    ) -> None:
        await client.authorization_url(**LEAVING)
        scope = TransactionScope()
        scope.enter()
        scope.is_open = True
        try:
            with pytest.raises(CalledInsideTransaction):
                await client.authorization_url(**LEAVING)
        finally:
            scope.leave()
