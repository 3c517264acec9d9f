"""The mode `jwt`: what is accepted, and a table of malformed, weak and misused tokens (RFC 8725)."""

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import Key

from shopkeeper_asgi import Authenticator, ProviderUnavailable, TokenInvalid, User, jwks, key_source
from shopkeeper_asgi.jwks import keys_of
from shopkeeper_asgi.jwt import Jwt
from shopkeeper_asgi.key_source import PAUSE, STALE
from tests.services.web import says, serving
from tests.shopkeeper_asgi.conftest import Make
from tests.shopkeeper_asgi.issuer import EC, ED, OTHER_EC, P384, RSA, SECRET, WEAK, Issuer, part, sign


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with serving("127.0.0.1") as server:
        yield Issuer(server)


@pytest.fixture
def asking(issuer: Issuer, make: Make) -> Authenticator:
    return make(issuer.mode())


async def user(authenticator: Authenticator, token: str) -> User:
    found = await authenticator.authenticate([("authorization", f"Bearer {token}")])
    assert found is not None
    return found


class TestAccepted:
    @pytest.mark.parametrize(
        ("key", "algorithm"),
        [(EC, "ES256"), (ED, "EdDSA"), (ED, "Ed25519"), (RSA, "RS256")],
        ids=["ES256", "EdDSA", "Ed25519", "RS256"],
    )
    async def test_each_key_verifies_by_its_algorithm(
        self, issuer: Issuer, asking: Authenticator, key: Key, algorithm: str
    ) -> None:
        told = {"email": "ada@example.org", "email_verified": True, "name": "Ada", "sid": "s"}
        found = await user(asking, issuer.token(key, algorithm, **told))
        assert (found.id, found.email, found.verified) == ("7", "ada@example.org", True)
        assert found.traits == {"email": "ada@example.org", "email_verified": True, "name": "Ada"}
        assert found.session["sid"] == "s"

    @pytest.mark.parametrize(
        ("header", "claims"),
        [
            ({"typ": "JWT"}, {}),
            ({"typ": "application/at+jwt"}, {}),
            ({"jwk": EC.as_dict(private=False), "jku": "https://evil.example", "x5u": "x", "x5c": ["x"]}, {}),
            ({}, {"aud": ["other", "https://api.shop.example"]}),
            ({}, {"traits": {"email": "ada@example.org"}}),
            ({}, {"nonce": "n", "auth_time": 1}),  # with the type of access tokens, these say nothing else
            ({"typ": "JWT"}, {"nonce": "n", "typ": "Bearer", "auth_time": 1}),  # Keycloak until release 25
            ({}, {"act": None, "client_id": "app"}),
        ],
    )
    async def test_what_is_accepted(
        self, issuer: Issuer, asking: Authenticator, header: dict[str, Any], claims: dict[str, Any]
    ) -> None:
        assert (await user(asking, issuer.token(header=header, **claims))).id == "7"

    async def test_the_clocks_may_differ_a_little(self, issuer: Issuer, asking: Authenticator) -> None:
        assert (await user(asking, issuer.token(exp=time.time() - 10))).id == "7"

    async def test_traits_are_the_claim_of_that_name(self, issuer: Issuer, asking: Authenticator) -> None:
        found = await user(asking, issuer.token(traits={"email": "ada@example.org"}, email_verified=True))
        assert found.traits == {"email": "ada@example.org"}
        assert found.verified is False  # the claim is about the claim `email`, which is not there

    async def test_without_an_audience_only_tokens_for_none_are_accepted(self, issuer: Issuer, make: Make) -> None:
        asking = make(issuer.mode(audience=None))
        assert (await user(asking, issuer.token(aud=...))).id == "7"
        with pytest.raises(TokenInvalid):
            await user(asking, issuer.token())

    @pytest.mark.parametrize(
        "claims",
        [
            {"aud": ..., "token_use": "access", "client_id": "app", "username": "ada", "auth_time": 1},  # Cognito
            {"aud": ..., "cid": "app", "uid": "u", "scp": ["openid"]},  # Okta
        ],
    )
    async def test_tokens_without_a_type_are_accepted_where_that_is_wanted(
        self, issuer: Issuer, asking: Authenticator, make: Make, claims: dict[str, Any]
    ) -> None:
        token = issuer.token(header={"typ": ...}, **claims)
        untyped = {"audience": None, "types": ("at+jwt", "jwt", None)}
        assert (await user(make(issuer.mode(**untyped, clients=["app"])), token)).id == "7"
        for stricter in (asking, make(issuer.mode(**untyped, clients=["other"]))):
            with pytest.raises(TokenInvalid):
                await user(stricter, token)
        with pytest.raises(TokenInvalid, match="Nothing says"):
            await user(make(issuer.mode(**untyped)), issuer.token(header={"typ": ...}, aud=...))

    async def test_a_token_without_key_id_needs_the_only_key(self, issuer: Issuer, asking: Authenticator) -> None:
        assert (await user(asking, issuer.token(header={"kid": ...}))).id == "7"
        issuer.publish(EC, OTHER_EC)
        again = Authenticator(issuer.mode(), deadline=30)
        with pytest.raises(TokenInvalid):
            await user(again, issuer.token(header={"kid": ...}))
        again.close()

    @pytest.mark.parametrize("kind", ["a mapping", "a file", "a path"])
    async def test_the_application_may_have_the_keys(
        self, issuer: Issuer, make: Make, tmp_path: Path, kind: str
    ) -> None:
        file = tmp_path / "orders.jwks.json"
        published = {"keys": [entry(EC)]}
        file.write_text(json.dumps(published))
        jwks = {"a mapping": published, "a file": str(file), "a path": file}[kind]
        asking = make(Jwt(issuer="orders", audience=None, jwks=jwks))
        assert (await user(asking, issuer.token(iss="orders", aud=...))).id == "7"
        with pytest.raises(TokenInvalid):
            await user(asking, issuer.token(OTHER_EC, iss="orders", aud=...))
        assert issuer.fetches == 0

    def test_keys_that_are_none_are_refused_in_the_settings(self, tmp_path: Path) -> None:
        weak = tmp_path / "weak.json"
        weak.write_text(json.dumps({"keys": [entry(WEAK)]}))
        for none in ({"keys": []}, {}, {"keys": [entry(P384)]}, weak):
            with pytest.raises(ValueError, match="jwks"):
                Jwt(issuer="orders", audience=None, jwks=none)
        with pytest.raises(ValueError, match="either"):
            Jwt(issuer="orders", audience=None, jwks={"keys": [entry(EC)]}, jwks_url="https://id.example/jwks")
        with pytest.raises(OSError, match="missing"):
            Jwt(issuer="orders", audience=None, jwks=tmp_path / "missing")

    async def test_the_keys_may_be_named_without_discovery(self, issuer: Issuer, make: Make) -> None:
        issuer.server.answers.pop("/.well-known/openid-configuration")
        named = make(issuer.mode(jwks_url=f"{issuer.url}/jwks"))
        assert (await user(named, issuer.token())).id == "7"


def tampered(issuer: Issuer) -> str:
    head, _, signature = issuer.token().split(".")
    return f"{head}.{part(issuer.claims(sub='8'))}.{signature}"


def with_alg(algorithm: Any, signature: str = "") -> Callable[[Issuer], str]:
    def build(issuer: Issuer) -> str:
        return f"{part({'alg': algorithm, 'kid': 'ec', 'typ': 'at+jwt'})}.{part(issuer.claims())}.{signature}"

    return build


def hmac_with_public_key(issuer: Issuer) -> str:
    signed = f"{part({'alg': 'HS256', 'kid': 'rsa', 'typ': 'at+jwt'})}.{part(issuer.claims())}"
    return f"{signed}.{part(hmac.digest(RSA.as_pem(private=False), signed.encode(), 'sha256'))}"


def payload(raw: bytes) -> Callable[[Issuer], str]:
    return lambda _: sign({"alg": "ES256", "kid": "ec", "typ": "at+jwt"}, raw, EC, "ES256")


def header(raw: bytes) -> Callable[[Issuer], str]:
    return lambda issuer: sign(raw, issuer.claims(), EC, "ES256")


def claim(**claims: Any) -> Callable[[Issuer], str]:
    return lambda issuer: issuer.token(**claims)


def head(**told: Any) -> Callable[[Issuer], str]:
    return lambda issuer: issuer.token(header=told)


NOW = int(time.time())
TOMORROW = NOW + 86_400
REFUSED: dict[str, Callable[[Issuer], str]] = {
    "an opaque token": lambda _: "ory_st_a",
    "two parts": lambda issuer: issuer.token().rpartition(".")[0],
    "four parts": lambda issuer: f"{issuer.token()}.x",
    "five parts, as an encrypted one": lambda _: "a.b.c.d.e",
    "no signature": lambda issuer: issuer.token().rpartition(".")[0] + ".",
    "alg none": with_alg("none"),
    "alg nOnE": with_alg("nOnE", "AA"),
    "alg NONE with spaces": with_alg(" none ", "AA"),
    "alg null": with_alg(None, "AA"),
    "alg a list": with_alg(["ES256"], "AA"),
    "HMAC with the public key as the secret": hmac_with_public_key,
    "HMAC with a published secret": lambda issuer: issuer.token(SECRET, "HS256"),
    "a changed payload": tampered,
    "another key under a known id": lambda issuer: issuer.token(OTHER_EC),
    "an unknown key": lambda issuer: issuer.token(header={"kid": "other"}),
    "a key that its header brings": lambda issuer: issuer.token(
        OTHER_EC, header={"kid": "new", "jwk": OTHER_EC.as_dict(private=False)}
    ),
    "a key of another curve": lambda issuer: issuer.token(P384, "ES384"),
    "a weak RSA key": lambda issuer: issuer.token(WEAK, "RS256"),
    "another algorithm of an RSA key": lambda issuer: issuer.token(RSA, "PS256"),
    "crit": head(crit=["exp"], exp=NOW + 9),
    "crit, empty": header(b'{"alg":"ES256","kid":"ec","typ":"at+jwt","crit":[]}'),
    "an unencoded payload": header(b'{"alg":"ES256","kid":"ec","typ":"at+jwt","b64":false}'),
    "a compressed payload": header(b'{"alg":"ES256","kid":"ec","typ":"at+jwt","zip":"DEF"}'),
    "no typ": head(typ=...),
    "typ of a logout token": head(typ="logout+jwt"),
    "typ not a text": header(b'{"alg":"ES256","kid":"ec","typ":1}'),
    "kid not a text": header(b'{"alg":"ES256","kid":["ec"],"typ":"at+jwt"}'),
    "kid too long": head(kid="k" * 600),
    "a header too long": head(x="x" * 4000),
    "a header member twice": header(b'{"alg":"ES256","alg":"none","kid":"ec","typ":"at+jwt"}'),
    "a header that is a list": header(b"[]"),
    "a header that is not JSON": header(b"{"),
    "a header that is not UTF-8": header(b"\xff\xfe"),
    "a header nested deeply": header(b'{"a":' * 500),
    "a claim twice": payload(b'{"sub":"7","sub":"8"}'),
    "claims that are a list": payload(b"[]"),
    "claims that are not JSON": payload(b"hello"),
    "claims with NaN": payload(b'{"exp":NaN}'),
    "claims nested deeply": payload(b"[" * 6000),
    "no expiry": claim(exp=...),
    "expired": claim(exp=NOW - 60),
    "an expiry as a text": claim(exp=str(TOMORROW)),
    "an expiry that is true": claim(exp=True),
    "an infinite expiry": payload(b'{"exp":1e999}'),
    "not valid yet": claim(nbf=TOMORROW),
    "nbf as a text": claim(nbf="now"),
    "issued in the future": claim(iat=TOMORROW),
    "another issuer": claim(iss="https://evil.example"),
    "an issuer with a slash": lambda issuer: issuer.token(iss=f"{issuer.url}/"),
    "no issuer": claim(iss=...),
    "another audience": claim(aud="https://other.example"),
    "a part of the audience": claim(aud="https://api.shop"),
    "no audience": claim(aud=...),
    "an audience of numbers": claim(aud=[1]),
    "an audience that is an object": claim(aud={"https://api.shop.example": 1}),
    "no subject": claim(sub=...),
    "an empty subject": claim(sub=""),
    "a subject that is a number": claim(sub=7),
    "a subject too long": claim(sub="s" * 256),
    "an application's own": claim(sub="app", client_id="app"),
    "an application's own, of Okta": claim(sub="app", cid="app"),
    "an application's own, of Auth0": claim(sub="app@clients", azp="app"),
    "an application's own, of Auth0 with a subject of its own": claim(gty="client-credentials"),
    "an application's own, of Entra": claim(idtyp="app"),
    "an application's own, of Keycloak": claim(preferred_username="service-account-app"),
    "a refresh token of Keycloak": claim(typ="Refresh"),
    "an ID token of Keycloak": claim(typ="ID"),
    "an ID token of Cognito": claim(token_use="id"),
    "an ID token by its nonce": lambda issuer: issuer.token(header={"typ": "JWT"}, nonce="n", scope="openid"),
    "an ID token by at_hash": lambda issuer: issuer.token(header={"typ": "JWT"}, at_hash="h"),
    "an ID token by c_hash": lambda issuer: issuer.token(header={"typ": "JWT"}, c_hash="h"),
    "a logout token": lambda issuer: issuer.token(header={"typ": "JWT"}, events={"x": {}}),
    "an actor that is none": claim(act={}),
    "an actor that is a text": claim(act="agent"),
}


class TestRefused:
    @pytest.mark.parametrize("build", REFUSED.values(), ids=REFUSED)
    async def test_a_token_is_refused(
        self, issuer: Issuer, asking: Authenticator, build: Callable[[Issuer], str]
    ) -> None:
        issuer.publish(EC, ED, RSA, WEAK, P384)
        with pytest.raises(TokenInvalid):
            await user(asking, build(issuer))

    def test_every_algorithm_that_is_not_asymmetric_is_refused_in_the_settings(self) -> None:
        for algorithms in (["HS256"], ["none"], [], "ES256"):
            with pytest.raises(ValueError, match="algorithms"):
                Jwt(issuer="https://id.example", audience=None, algorithms=algorithms)
        for told in ({"types": "jwt"}, {"types": []}, {"clients": "app"}):
            with pytest.raises(ValueError, match="list"):
                Jwt(issuer="https://id.example", audience=None, **told)
        with pytest.raises(ValueError, match="https"):
            Jwt(issuer="id.example", audience=None)


def entry(key: Key, **more: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), **more}


class TestKeys:
    @pytest.mark.parametrize(
        "odd",
        [
            entry(WEAK),
            entry(EC, use="enc"),
            entry(EC, key_ops=["sign"]),
            entry(EC, key_ops="verify"),
            entry(EC, alg="ES384"),
            entry(EC, alg="HS256"),
            entry(EC, kid=7),
            entry(EC, x="AA"),
            entry(EC, crv="P-384"),
            entry(RSA, e="AQ"),
            entry(RSA, alg="HS256"),
            entry(RSA, n=7),
            entry(P384),
            {"kty": ["EC"]},
            {"kty": "oct", "k": "AAAA", "kid": "a"},
            {},
            "text",
        ],
    )
    def test_an_odd_or_weak_key_is_left_out_alone(self, odd: Any) -> None:
        kept = keys_of({"keys": [odd, entry(ED)]}, ("ES256", "EdDSA", "RS256"))
        assert [key.kid for key in kept] == ["ed"]

    def test_a_private_key_that_is_published_is_used_as_a_public_one(self) -> None:
        (kept,) = keys_of({"keys": [EC.as_dict(private=True)]}, ["ES256"])
        assert not kept.key.is_private

    def test_so_many_keys_and_no_more_are_read(self) -> None:
        assert len(keys_of({"keys": [entry(EC)] * 1000}, ["ES256"])) == jwks.MAX_KEYS

    @pytest.mark.parametrize("document", [{}, {"keys": None}, {"keys": {}}])
    def test_a_document_without_keys_has_none(self, document: Any) -> None:
        assert keys_of(document, ["ES256"]) == ()

    def test_an_rsa_key_has_one_algorithm(self) -> None:
        (kept,) = keys_of({"keys": [entry(RSA)]}, ["ES256", "PS256", "RS256"])
        assert kept.algorithm == "PS256"
        (kept,) = keys_of({"keys": [entry(RSA, alg="RS256")]}, ["ES256", "PS256", "RS256"])
        assert kept.algorithm == "RS256"


class TestFetching:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """The monotonic clock of the keys, which the test sets."""
        now = [1000.0]
        monkeypatch.setattr(key_source, "monotonic", lambda: now[0])
        return now

    async def test_a_new_key_is_fetched_once_it_is_used(
        self, issuer: Issuer, asking: Authenticator, clock: list[float]
    ) -> None:
        await user(asking, issuer.token())
        issuer.publish(EC, P384, ED)
        clock[0] += PAUSE + 1
        with pytest.raises(TokenInvalid):
            await user(asking, issuer.token(RSA, "RS256", header={"kid": "rsa2"}))
        assert issuer.fetches == 2

    async def test_invented_keys_do_not_make_it_fetch_again_and_again(
        self, issuer: Issuer, asking: Authenticator, clock: list[float]
    ) -> None:
        await user(asking, issuer.token())
        for at in range(5):
            with pytest.raises(TokenInvalid):
                await user(asking, issuer.token(header={"kid": f"invented-{at}"}))
        assert issuer.fetches == 1
        clock[0] += PAUSE + 1
        for at in range(5):
            with pytest.raises(TokenInvalid):
                await user(asking, issuer.token(header={"kid": f"invented-{at}"}))
        assert issuer.fetches == 2

    async def test_while_the_issuer_is_away_its_keys_go_on_for_a_bounded_time(
        self, issuer: Issuer, make: Make, clock: list[float]
    ) -> None:
        asking = make(issuer.mode(), cache_seconds=0)
        await user(asking, issuer.token())
        issuer.fail()
        clock[0] += STALE - 1
        assert (await user(asking, issuer.token())).id == "7"
        clock[0] += PAUSE + 1
        with pytest.raises(ProviderUnavailable):
            await user(asking, issuer.token())
        issuer.publish(EC)
        clock[0] += PAUSE + 1
        assert (await user(asking, issuer.token())).id == "7"

    async def test_known_keys_go_on_while_the_issuer_hangs(
        self, issuer: Issuer, make: Make, clock: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Regression: all tokens waited for the keys until their deadline, and were refused then."""
        monkeypatch.setattr(key_source, "GRACE", 0.01)
        asking = make(issuer.mode(), cache_seconds=0)
        await user(asking, issuer.token())
        gate = issuer.hang()
        clock[0] += key_source.FRESH + 1
        found = await asyncio.gather(*(user(asking, issuer.token(sub=f"{at}")) for at in range(10)))
        assert [each.id for each in found] == [f"{at}" for at in range(10)]
        assert issuer.fetches == 2
        gate.set()

    async def test_a_key_that_is_new_is_waited_for_by_those_who_need_it_alone(
        self, issuer: Issuer, make: Make, clock: list[float]
    ) -> None:
        asking = make(issuer.mode(), cache_seconds=0)
        await user(asking, issuer.token())
        gate = issuer.hang(EC, P384, ED)
        clock[0] += PAUSE + 1
        new = asyncio.create_task(user(asking, issuer.token(ED, "EdDSA", header={"kid": "new"})))
        assert (await user(asking, issuer.token())).id == "7"
        gate.set()
        with pytest.raises(TokenInvalid):
            await new

    async def test_a_withdrawn_key_verifies_no_more(self, issuer: Issuer, make: Make, clock: list[float]) -> None:
        asking = make(issuer.mode(), cache_seconds=0)
        await user(asking, issuer.token())
        issuer.publish(ED)
        clock[0] += key_source.FRESH + 1
        with pytest.raises(TokenInvalid):
            await user(asking, issuer.token())

    @pytest.mark.parametrize(
        "document",
        [
            {"issuer": "https://evil.example", "jwks_uri": "/jwks"},
            {"jwks_uri": "/jwks"},
            {"issuer": "own", "jwks_uri": "file:///etc/passwd"},
            {"issuer": "own", "jwks_uri": 7},
            {"issuer": "own"},
        ],
    )
    async def test_a_discovery_document_must_be_the_issuer_s(
        self, issuer: Issuer, asking: Authenticator, document: dict[str, Any]
    ) -> None:
        if document.get("issuer") == "own":
            document = {**document, "issuer": issuer.url}
        if document.get("jwks_uri") == "/jwks":
            document = {**document, "jwks_uri": f"{issuer.url}/jwks"}
        issuer.server.answers["/.well-known/openid-configuration"] = says(json.dumps(document).encode())
        with pytest.raises(ProviderUnavailable):
            await user(asking, issuer.token())

    async def test_an_authorization_server_without_openid_is_found_as_well(
        self, issuer: Issuer, asking: Authenticator
    ) -> None:
        answers = issuer.server.answers
        answers["/.well-known/oauth-authorization-server"] = answers.pop("/.well-known/openid-configuration")
        answers["/.well-known/openid-configuration"] = says(b"", status="404 Not Found")
        assert (await user(asking, issuer.token())).id == "7"

    async def test_without_any_usable_key_it_is_an_outage(self, issuer: Issuer, asking: Authenticator) -> None:
        issuer.publish(WEAK)
        with pytest.raises(ProviderUnavailable):
            await user(asking, issuer.token())
