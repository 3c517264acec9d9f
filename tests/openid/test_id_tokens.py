"""ID tokens: only those of the provider, for us, for this sign-in and for now are accepted."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, RSAKey

from shopkeeper.jose.keys import KeySet
from shopkeeper.openid.authenticated import OneUse
from shopkeeper.openid.client import OpenIDClient
from shopkeeper.openid.errors import ProviderTokenInvalid
from shopkeeper.openid.id_token import redirect_nonce
from shopkeeper.openid.provider import Provider
from shopkeeper.openid.tokens import MAX_TOKEN, verify_signature
from tests.openid.scripted import (
    ARRIVING,
    DROP,
    EC,
    NONCE,
    OTHER_RSA,
    RSA,
    ScriptedProvider,
    query,
    signed,
)

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
TEXT = st.text(alphabet='abcXYZ019-_=+/.{}[]" \n\x00\xe4\u20ac', max_size=200)


async def cause_of(client: OpenIDClient, token: str, *, nonce: str | None = NONCE) -> str:
    with pytest.raises(ProviderTokenInvalid) as refused:
        await client.verify_id_token(token, nonce=nonce)
    assert token not in str(refused.value)
    return refused.value.cause


def b64(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


class TestAccepted:
    @pytest.mark.parametrize("algorithm", ["RS256", "PS384", "ES256", "EdDSA", "Ed25519"])
    async def test_a_token_of_every_kind_of_key(
        self, idp: ScriptedProvider, client: OpenIDClient, algorithm: str
    ) -> None:
        token = signed(idp.claims(email="alice@example.com"), algorithm=algorithm)
        found = await client.verify_id_token(token, nonce=NONCE)
        assert (found.issuer, found.subject, found.claims["email"]) == (idp.issuer, "alice", "alice@example.com")
        assert found.id_token == token

    async def test_a_token_without_kid_where_one_key_fits(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        assert (await client.verify_id_token(signed(idp.claims(), kid=DROP), nonce=NONCE)).subject == "alice"

    @pytest.mark.parametrize("typ", ["JWT", "jwt", "application/jwt"])
    async def test_the_usual_type_in_any_spelling(self, idp: ScriptedProvider, client: OpenIDClient, typ: str) -> None:
        assert (await client.verify_id_token(signed(idp.claims(), typ=typ), nonce=NONCE)).subject == "alice"

    async def test_members_of_the_header_that_mean_nothing_here(
        self, idp: ScriptedProvider, client: OpenIDClient
    ) -> None:
        token = signed(idp.claims(), ver="2", x5t="abc")
        assert (await client.verify_id_token(token, nonce=NONCE)).subject == "alice"

    @pytest.mark.parametrize("changed", [{"iat": 50}, {"exp": -50, "iat": -3000}, {"nbf": 50}])
    async def test_clocks_that_differ_by_less_than_a_minute(
        self, idp: ScriptedProvider, client: OpenIDClient, changed: dict[str, int]
    ) -> None:
        now = int(idp.clock.now().timestamp())
        token = signed(idp.claims(**{name: now + seconds for name, seconds in changed.items()}))
        assert (await client.verify_id_token(token, nonce=NONCE)).subject == "alice"

    async def test_a_token_for_one_of_our_apps(self, idp: ScriptedProvider) -> None:
        client = idp.client(additional_audiences=("ios-app",))
        assert (await client.verify_id_token(signed(idp.claims(aud="ios-app")), nonce=NONCE)).subject == "alice"

    async def test_googles_android_apps_name_themselves_as_the_party(
        self, idp: ScriptedProvider, client: OpenIDClient
    ) -> None:
        token = signed(idp.claims(azp="an-android-app"))
        assert (await client.verify_id_token(token, nonce=NONCE)).subject == "alice"

    async def test_a_token_for_several_audiences_at_our_request(
        self, idp: ScriptedProvider, client: OpenIDClient
    ) -> None:
        token = signed(idp.claims(aud=["shop", "project"], azp="shop"))
        assert (await client.verify_id_token(token, nonce=NONCE)).subject == "alice"

    async def test_a_token_without_nonce_where_none_was_sent(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        assert (await client.verify_id_token(signed(idp.claims(nonce=DROP)), nonce=None)).subject == "alice"

    async def test_another_spelling_of_the_issuer_leads_to_the_same_account(self, idp: ScriptedProvider) -> None:
        client = idp.client(issuer_aliases=("accounts.example",))
        found = await client.verify_id_token(signed(idp.claims(iss="accounts.example")), nonce=NONCE)
        assert found.issuer == idp.issuer

    async def test_the_subject_may_be_another_claim(self, idp: ScriptedProvider) -> None:
        client = idp.client(subject_claim="oid")
        assert (await client.verify_id_token(signed(idp.claims(oid="o-7")), nonce=NONCE)).subject == "o-7"


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("another issuer", {"iss": "https://evil.example"}, "issuer"),
    ("the issuer with a slash", {"iss": DROP}, "issuer"),
    ("an issuer that is a list", {"iss": ["https://evil.example"]}, "issuer"),
    ("another audience", {"aud": "other"}, "audience"),
    ("no audience", {"aud": DROP}, "audience"),
    ("an empty list of audiences", {"aud": []}, "audience"),
    ("audiences that are no texts", {"aud": ["shop", 7]}, "audience"),
    ("an audience that is a number", {"aud": 7}, "audience"),
    ("an audience that contains ours", {"aud": "workshop"}, "audience"),
    ("several audiences without a party", {"aud": ["shop", "other"]}, "azp"),
    ("several audiences at the request of another", {"aud": ["shop", "other"], "azp": "other"}, "azp"),
    ("another nonce", {"nonce": "other"}, "nonce"),
    ("no nonce", {"nonce": DROP}, "nonce"),
    ("an empty nonce", {"nonce": ""}, "nonce"),
    ("a nonce that is a list", {"nonce": [NONCE]}, "nonce"),
    ("no end", {"exp": DROP}, "exp"),
    ("an end that is text", {"exp": "4102444800"}, "exp"),
    ("an end that is true", {"exp": True}, "exp"),
    ("an end that no calendar has", {"exp": 10**30}, "exp"),
    ("an end that no computer has", {"exp": 10**400}, "exp"),
    ("an end that is infinite", {"exp": float("inf")}, "claims_unreadable"),
    ("no beginning", {"iat": DROP}, "iat"),
    ("no subject", {"sub": DROP}, "sub"),
    ("an empty subject", {"sub": ""}, "sub"),
    ("a subject that is a number", {"sub": 7}, "sub"),
    ("a subject of 256 characters", {"sub": "a" * 256}, "sub"),
    ("a subject with a NUL", {"sub": "alice\x00"}, "sub"),
    ("a session that is a list", {"sid": ["s"]}, "sid"),
    ("a logout token", {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}, "typ"),
]


class TestRefusedClaims:
    @pytest.mark.parametrize(("changed", "cause"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
    async def test_what_is_wrong_is_refused(
        self, idp: ScriptedProvider, client: OpenIDClient, changed: dict[str, Any], cause: str
    ) -> None:
        assert await cause_of(client, signed(idp.claims(**changed))) == cause

    async def test_the_issuer_is_compared_exactly(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        assert await cause_of(client, signed(idp.claims(iss=idp.issuer + "/"))) == "issuer"

    async def test_a_nonce_where_none_was_sent(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        assert await cause_of(client, signed(idp.claims()), nonce=None) == "nonce"

    async def test_an_app_of_ours_is_no_audience_of_a_code(self, idp: ScriptedProvider) -> None:
        client = idp.client(additional_audiences=("ios-app",))
        idp.answer("/token", idp.tokens(signed(idp.claims(aud="ios-app"))))
        with pytest.raises(ProviderTokenInvalid) as refused:
            await client.authenticate(query(), **ARRIVING)
        assert refused.value.cause == "audience"

    async def test_a_token_for_our_code_at_the_request_of_another(
        self, idp: ScriptedProvider, client: OpenIDClient
    ) -> None:
        idp.answer("/token", idp.tokens(signed(idp.claims(azp="other"))))
        with pytest.raises(ProviderTokenInvalid) as refused:
            await client.authenticate(query(), **ARRIVING)
        assert refused.value.cause == "azp"

    @pytest.mark.parametrize(
        ("minutes", "cause", "sentence"),
        [(5, "clock", "300 seconds"), (-65, "expired", "the clock of this server or that of the provider is wrong")],
    )
    async def test_a_wrong_clock_is_named_as_the_cause(
        self, idp: ScriptedProvider, client: OpenIDClient, minutes: int, cause: str, sentence: str
    ) -> None:
        at = int(idp.clock.now().timestamp()) + 60 * minutes
        with pytest.raises(ProviderTokenInvalid, match=sentence) as refused:
            await client.verify_id_token(signed(idp.claims(iat=at, exp=at + 3600)), nonce=NONCE)
        assert refused.value.cause == cause

    async def test_a_token_that_is_not_valid_before_later(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        assert await cause_of(client, signed(idp.claims(nbf=int(idp.clock.now().timestamp()) + 90))) == "clock"

    async def test_a_token_that_would_be_valid_for_ever(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        token = signed(idp.claims(exp=int(idp.clock.now().timestamp()) + 10**9))
        idp.clock.advance(days=2)
        assert await cause_of(client, token) == "too_old"


class TestNonces:
    """An app may send the provider the hash of its nonce, and us the nonce itself."""

    HEX = hashlib.sha256(b"of-the-app").hexdigest()
    BASE64 = base64.urlsafe_b64encode(hashlib.sha256(b"of-the-app").digest()).rstrip(b"=").decode()

    @pytest.mark.parametrize("nonce", ["of-the-app", HEX, BASE64])
    async def test_of_an_app(self, idp: ScriptedProvider, client: OpenIDClient, nonce: str) -> None:
        token = signed(idp.claims(nonce=nonce))
        assert (await client.verify_id_token(token, nonce="of-the-app")).subject == "alice"

    @pytest.mark.parametrize("nonce", [HEX.upper(), f"{BASE64}=", HEX[:-1], "", "of-the-app ", 7, ["of-the-app"], None])
    async def test_in_another_spelling(self, idp: ScriptedProvider, client: OpenIDClient, nonce: Any) -> None:
        assert await cause_of(client, signed(idp.claims(nonce=nonce)), nonce="of-the-app") == "nonce"

    async def test_that_is_the_hash_is_not_hashed_back(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        assert await cause_of(client, signed(idp.claims(nonce="of-the-app")), nonce=self.HEX) == "nonce"

    @pytest.mark.parametrize("nonce", ["\ud800", "\x00", "é" * 5_000])
    async def test_of_any_text(self, idp: ScriptedProvider, client: OpenIDClient, nonce: str) -> None:
        assert await cause_of(client, signed(idp.claims()), nonce=nonce) == "nonce"

    async def test_of_a_redirect_is_never_hashed(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        hashed = hashlib.sha256(NONCE.encode()).hexdigest()
        idp.answer("/token", idp.tokens(signed(idp.claims(nonce=hashed))))
        with pytest.raises(ProviderTokenInvalid) as refused:
            await client.authenticate(query(), **ARRIVING)
        assert refused.value.cause == "nonce"

    async def test_of_a_redirect_is_none_of_an_app(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        nonce = redirect_nonce()
        assert nonce != redirect_nonce()
        token = signed(idp.claims(nonce=nonce))
        assert await cause_of(client, token, nonce=nonce) == "nonce"
        idp.answer("/token", idp.tokens(token))
        found = await client.authenticate(query(), **{**ARRIVING, "nonce": nonce})
        assert (found.subject, found.one_use) == ("alice", None)


class TestOneUse:
    async def used(self, client: OpenIDClient, token: str) -> OneUse:
        found = (await client.verify_id_token(token, nonce=NONCE)).one_use
        assert found is not None
        return found

    async def test_a_token_in_another_spelling_is_the_same(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        """Whoever knows an ECDSA signature knows a second one of the same text (r, n - s)."""
        token = signed(idp.claims(), algorithm="ES256")
        text, _, signature = token.rpartition(".")
        raw = base64.urlsafe_b64decode(f"{signature}==")
        other = raw[:32] + (P256_ORDER - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
        again = f"{text}.{base64.urlsafe_b64encode(other).rstrip(b'=').decode()}"
        assert again != token
        assert await self.used(client, again) == await self.used(client, token)

    async def test_another_token_is_another_one(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        found = {(await self.used(client, signed(idp.claims(**more)))).digest for more in ({}, {"jti": "1"}, {"a": 1})}
        assert len(found) == 3

    @pytest.mark.parametrize("seconds", [300, 10**9])
    async def test_it_is_remembered_for_longer_than_it_is_accepted(
        self, idp: ScriptedProvider, client: OpenIDClient, seconds: int
    ) -> None:
        token = signed(idp.claims(exp=int(idp.clock.now().timestamp()) + seconds))
        until = (await self.used(client, token)).until
        assert until - idp.clock.now() <= timedelta(days=1, minutes=2)
        idp.clock.advance(seconds=(until - idp.clock.now()).total_seconds() - 30)
        assert await cause_of(client, token) in {"expired", "too_old"}


class TestTenants:
    TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"

    @pytest.fixture
    def shared(self, idp: ScriptedProvider) -> OpenIDClient:
        template = idp.server.url("/{tenantid}/v2.0")
        idp.answer("/.well-known/openid-configuration", idp.metadata(issuer=template))
        return idp.client(issuer_template=template, refused_tenants=frozenset({"consumers"}))

    async def test_a_tenant_is_the_issuer_of_its_own_users(self, idp: ScriptedProvider, shared: OpenIDClient) -> None:
        issuer = idp.server.url(f"/{self.TENANT}/v2.0")
        token = signed(idp.claims(iss=issuer, tid=self.TENANT))
        found = await shared.verify_id_token(token, nonce=NONCE)
        assert found.issuer == issuer
        assert shared.provider.issues(found.issuer)

    @pytest.mark.parametrize(
        ("path", "tenant", "cause"),
        [
            ("/a/v2.0", "b", "issuer"),
            ("/a/v2.0", DROP, "issuer"),
            ("/a/b/v2.0", "a/b", "issuer"),
            ("/{tenantid}/v1.0", "{tenantid}", "issuer"),
            ("/consumers/v2.0", "consumers", "tenant"),
        ],
    )
    async def test_no_tenant_speaks_for_another(
        self, idp: ScriptedProvider, shared: OpenIDClient, path: str, tenant: Any, cause: str
    ) -> None:
        token = signed(idp.claims(iss=idp.server.url(path), tid=tenant))
        assert await cause_of(shared, token) == cause

    @pytest.mark.parametrize(
        ("key_issuer", "accepted"), [("/{tenantid}/v2.0", True), ("/one/v2.0", True), ("/two/v2.0", False)]
    )
    async def test_a_key_of_one_tenant_signs_for_no_other(
        self, idp: ScriptedProvider, shared: OpenIDClient, key_issuer: str, accepted: bool
    ) -> None:
        idp.publish(EC, issuer=idp.server.url(key_issuer))
        token = signed(idp.claims(iss=idp.server.url("/one/v2.0"), tid="one"))
        if accepted:
            assert (await shared.verify_id_token(token, nonce=NONCE)).subject == "alice"
        else:
            assert await cause_of(shared, token) == "key_issuer"

    async def test_where_the_metadata_are_of_one_tenant_others_are_refused(
        self, idp: ScriptedProvider, shared: OpenIDClient
    ) -> None:
        # As Microsoft answers where a tenant is configured by its domain name.
        one = idp.server.url(f"/{self.TENANT}/v2.0")
        idp.answer("/.well-known/openid-configuration", idp.metadata(issuer=one))
        assert (await shared.verify_id_token(signed(idp.claims(iss=one, tid=self.TENANT)), nonce=NONCE)).issuer == one
        other = signed(idp.claims(iss=idp.server.url("/other/v2.0"), tid="other"))
        assert await cause_of(shared, other) == "tenant"


class TestRefusedSignatures:
    async def test_no_signature(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        for name in ("none", "None", "NONE", ""):
            token = f"{b64({'alg': name})}.{b64(idp.claims())}."
            assert await cause_of(client, token) == "algorithm"

    @pytest.mark.parametrize("secret", ["pem", "jwk", "jwks", "client_secret"])
    async def test_a_public_key_is_never_the_secret_of_an_hmac(
        self, idp: ScriptedProvider, client: OpenIDClient, secret: str
    ) -> None:
        public = {
            "pem": RSA.as_pem(private=False),
            "jwk": json.dumps(RSA.as_dict(private=False)).encode(),
            "jwks": json.dumps({"keys": [RSA.as_dict(private=False)]}).encode(),
            "client_secret": b"shop-secret",
        }[secret]
        body = f"{b64({'alg': 'HS256', 'kid': 'rsa'})}.{b64(idp.claims())}"
        digest = base64.urlsafe_b64encode(hmac.digest(public, body.encode(), "sha256")).decode().rstrip("=")
        assert await cause_of(client, f"{body}.{digest}") == "algorithm"

    async def test_a_symmetric_key_that_is_published_verifies_nothing(
        self, idp: ScriptedProvider, client: OpenIDClient
    ) -> None:
        idp.answer("/jwks", {"keys": [{"kty": "oct", "kid": "ec", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}]})
        assert await cause_of(client, signed(idp.claims())) == "unknown_key"

    async def test_another_key_under_the_same_name(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        token = signed(idp.claims(), algorithm="RS256", key=OTHER_RSA)
        assert await cause_of(client, token) == "signature"

    async def test_a_key_in_the_header_is_ignored(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        own = ECKey.generate_key("P-256")
        for header in ({"jwk": own.as_dict(private=False)}, {"jku": idp.server.url("/evil")}, {"x5u": "http://e.x"}):
            token = signed(idp.claims(), key=own, kid="mine", **header)
            assert await cause_of(client, token) == "unknown_key"
        assert idp.asked("/evil") == 0

    @pytest.mark.parametrize("crit", [["bork"], ["cnf"], [], ["b64"], "b64", None])
    async def test_critical_extensions(self, idp: ScriptedProvider, client: OpenIDClient, crit: Any) -> None:
        assert await cause_of(client, signed(idp.claims(), crit=crit, bork=1, cnf={})) == "crit"

    async def test_an_unencoded_payload(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        assert await cause_of(client, signed(idp.claims(), b64=True)) == "crit"

    @pytest.mark.parametrize("typ", ["at+jwt", "logout+jwt", "dpop+jwt", "secevent+jwt", "", 7])
    async def test_tokens_of_another_kind(self, idp: ScriptedProvider, client: OpenIDClient, typ: Any) -> None:
        assert await cause_of(client, signed(idp.claims(), typ=typ)) == "typ"

    async def test_an_algorithm_that_the_provider_may_not_use(self, idp: ScriptedProvider) -> None:
        client = idp.client(algorithms=("RS256",))
        assert await cause_of(client, signed(idp.claims())) == "algorithm"

    async def test_a_key_for_another_algorithm(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        idp.publish(RSA, alg="RS256")
        token = signed(idp.claims(), algorithm="PS384")
        assert await cause_of(client, token) == "unknown_key"

    async def test_a_key_of_another_curve(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        key = ECKey.generate_key("P-384", {"kid": "ec"})
        idp.publish(key)
        assert await cause_of(client, signed(idp.claims(), key=EC)) == "unknown_key"

    async def test_a_key_that_encrypts(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        idp.publish(EC, use="enc")
        assert await cause_of(client, signed(idp.claims())) == "unknown_key"

    async def test_no_kid_where_two_keys_fit(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        idp.publish(EC, ECKey.generate_key("P-256", {"kid": "second"}))
        assert await cause_of(client, signed(idp.claims(), kid=DROP)) == "unknown_key"

    async def test_two_keys_under_one_kid(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        idp.publish(EC, ECKey.generate_key("P-256", {"kid": "ec"}))
        assert await cause_of(client, signed(idp.claims())) == "unknown_key"

    async def test_one_key_that_is_listed_twice_is_one_key(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        idp.publish(EC, EC)
        assert (await client.verify_id_token(signed(idp.claims()), nonce=NONCE)).subject == "alice"

    async def test_keys_of_two_kinds_may_share_a_kid(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        idp.publish(EC, RSAKey.import_key(RSA.as_dict(private=True), {"kid": "ec"}))
        assert (await client.verify_id_token(signed(idp.claims()), nonce=NONCE)).subject == "alice"

    async def test_an_encrypted_token(self, client: OpenIDClient) -> None:
        assert await cause_of(client, f"{b64({'alg': 'RSA-OAEP', 'enc': 'A256GCM'})}.a.b.c.d") == "encrypted"

    async def test_a_changed_payload(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        head, _, signature = signed(idp.claims()).split(".")
        assert await cause_of(client, f"{head}.{b64(idp.claims(sub='mallory'))}.{signature}") == "signature"


class TestAccessTokenHash:
    # OpenID Connect Core 1.0 appendix A.3 and A.4: the access token and its hash.
    TOKEN, HASH = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y", "77QmUPtjPfzWtF2AnpK9RQ"

    async def test_the_access_token_of_the_specification(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        token = signed(idp.claims(at_hash=self.HASH), algorithm="RS256")
        idp.answer("/token", idp.tokens(token, access_token=self.TOKEN))
        assert (await client.authenticate(query(), **ARRIVING)).access_token == self.TOKEN

    @pytest.mark.parametrize("algorithm", ["RS256", "PS384", "EdDSA"])
    @pytest.mark.parametrize("at_hash", ["", "77QmUPtjPfzWtF2AnpK9RA", 7])
    async def test_an_access_token_of_another_sign_in(
        self, idp: ScriptedProvider, client: OpenIDClient, algorithm: str, at_hash: Any
    ) -> None:
        idp.answer("/token", idp.tokens(signed(idp.claims(at_hash=at_hash), algorithm=algorithm)))
        with pytest.raises(ProviderTokenInvalid) as refused:
            await client.authenticate(query(), **ARRIVING)
        assert refused.value.cause == "at_hash"


class TestBounds:
    @pytest.mark.parametrize(
        ("token", "cause"),
        [
            ("." * 1_000_000, "too_long"),
            ("." * 60_000, "not_a_token"),
            ("a.b.c", "not_a_token"),
            ("YQ.b.c", "header_unreadable"),
            ("", "not_a_token"),
            ("ä.ö.ü", "too_long"),
            (f"{b64([[]])}.e30.", "header_unreadable"),
            (f"{b64({'alg': 'ES256', 'kid': 'k' * 600})}.e30.", "kid"),
            (f"{b64({'alg': 'ES256', 'kid': ['ec']})}.e30.", "kid"),
            (f"{b64({'alg': 'ES256', 'x': 'x' * 8500})}.e30.", "header_too_long"),
            (f"{base64.urlsafe_b64encode(b'[' * 1500).decode().rstrip('=')}.e30.", "header_unreadable"),
            (f"{b64({'alg': ['ES256']})}.e30.", "algorithm"),
        ],
    )
    async def test_what_is_no_token_is_refused_before_any_key_is_read(
        self, idp: ScriptedProvider, client: OpenIDClient, token: str, cause: str
    ) -> None:
        with pytest.raises(ProviderTokenInvalid) as refused:
            await client.verify_id_token(token, nonce=NONCE)
        assert (refused.value.cause, idp.asked("/jwks")) == (cause, 0)

    async def test_a_header_with_a_chain_of_certificates_is_no_reason_to_refuse(
        self, idp: ScriptedProvider, client: OpenIDClient
    ) -> None:
        token = signed(idp.claims(), x5c=["M" * 2500] * 3)
        assert (await client.verify_id_token(token, nonce=NONCE)).subject == "alice"

    async def test_claims_that_nest_too_deep(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        deep: Any = []
        for _ in range(40):
            deep = [deep]
        assert await cause_of(client, signed(idp.claims(deep=deep))) == "claims_unreadable"

    async def test_claims_that_are_too_many(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        assert await cause_of(client, signed(idp.claims(many=[0] * 6_000))) == "claims_unreadable"

    async def test_a_token_that_is_too_long(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        assert await cause_of(client, signed(idp.claims(long="x" * MAX_TOKEN))) == "too_long"

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(TEXT)
    def test_no_text_is_mistaken_for_a_token(self, text: str) -> None:
        assert _refused_at_once(text)

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.dictionaries(
            st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk"]),
            st.none() | TEXT | st.integers() | st.lists(TEXT) | st.sampled_from(["ES256", "JWT", "none"]),
        ),
        st.binary(max_size=100),
    )
    def test_no_header_leads_past_the_keys(self, header: dict[str, Any], rest: bytes) -> None:
        body = base64.urlsafe_b64encode(rest).decode().rstrip("=")
        assert _refused_at_once(f"{b64(header)}.{body}.{body}")


class _NoKeys:
    """A provider that has published no keys."""

    async def get(self, *, trusted: bool) -> KeySet:
        return KeySet()

    async def renew(self, *, trusted: bool) -> KeySet:
        return KeySet()


def _refused_at_once(token: str) -> bool:
    """Return whether a token is refused, and not by an error of another kind. Nothing is awaited that waits."""
    verifying = verify_signature(
        token,
        _NoKeys(),
        algorithms=("ES256", "RS256"),
        types={None, "jwt"},
        trusted=False,  # type: ignore[arg-type]
    )
    try:
        verifying.send(None)
    except ProviderTokenInvalid:
        return True
    return False


class TestProviderData:
    @pytest.mark.parametrize("algorithm", ["none", "HS256", "HS512", "RSA1_5", "rs256"])
    def test_no_setting_allows_an_unsafe_algorithm(self, algorithm: str) -> None:
        safe = Provider(id="idp", preset="generic", label="", client_id="shop", issuer="https://idp.example")
        with pytest.raises(ValueError, match=algorithm):
            replace(safe, algorithms=("ES256", algorithm))

    def test_secrets_are_not_printed(self) -> None:
        provider = Provider(
            id="idp", preset="generic", label="", client_id="shop", issuer="https://idp.example", client_secret="hush"
        )
        assert "hush" not in repr(provider)
