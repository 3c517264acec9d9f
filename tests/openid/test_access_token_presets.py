"""What the access tokens of Auth0, Entra, Keycloak, Cognito and Okta look like, and how they differ from ID tokens."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from shopkeeper.app.identity_providers import access_token_rules, identity_provider_of
from shopkeeper.openid.access_token import AccessToken, check_access_token
from shopkeeper.openid.errors import ProviderTokenInvalid
from shopkeeper.openid.tokens import SignedToken
from shopkeeper.settings.oidc_provider import OidcProvider

NOW = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)
TIMES = {"iat": int(NOW.timestamp()) - 10, "exp": int(NOW.timestamp()) + 3600}
ONE, TWO, STRANGE = (f"{digit * 8}-1111-4111-8111-111111111111" for digit in "123")
V1, V2 = "https://sts.windows.net/{}/", "https://login.microsoftonline.com/{}/v2.0"
SECTIONS: Mapping[str, Mapping[str, Any]] = {
    "generic": {"issuer": "https://idp.example", "audiences": ["https://api.example"]},
    "auth0": {"issuer": "https://shop.eu.auth0.com", "audiences": ["https://api.example"]},
    "entra": {"tenant": ONE, "audiences": ["app", "api://app"]},
    "keycloak": {"issuer": "https://sso.example/realms/shop", "audiences": ["shop-api"]},
    "cognito": {"issuer": "https://cognito-idp.eu-central-1.amazonaws.com/pool", "audiences": ["app"]},
    "okta": {"issuer": "https://shop.okta.com/oauth2/default", "audiences": ["api://default"]},
}
ACCESS: Mapping[str, Mapping[str, Any]] = {
    "generic": {"aud": "https://api.example", "sub": "ada", "client_id": "app", "scope": "openid a"},
    "auth0": {"aud": ["https://api.example", "https://shop.eu.auth0.com/userinfo"], "sub": "auth0|ada", "azp": "app"}
    | {"scope": "openid a"},
    "entra": {"aud": "app", "iss": V2.format(ONE), "tid": ONE, "sub": "of-the-api", "oid": "ada", "azp": "app"}
    | {"scp": "a", "ver": "2.0"},
    "keycloak": {"aud": ["shop-api", "account"], "sub": "ada", "azp": "app", "typ": "Bearer", "scope": "openid a"}
    | {"nonce": "of-the-sign-in", "realm_access": {"roles": ["buyer"]}},
    "cognito": {"client_id": "app", "sub": "ada", "username": "ada", "token_use": "access", "scope": "a"},
    "okta": {"aud": "api://default", "sub": "ada@example.org", "uid": "00u1", "cid": "app", "scp": ["openid", "a"]},
}
ID: Mapping[str, Mapping[str, Any]] = {
    "generic": {"aud": "https://api.example", "sub": "ada", "azp": "app", "nonce": "n"},
    "auth0": {"aud": "https://api.example", "sub": "auth0|ada", "nonce": "n", "sid": "s"},
    "entra": {"aud": "app", "iss": V2.format(ONE), "tid": ONE, "sub": "of-the-app", "oid": "ada", "nonce": "n"},
    "keycloak": {"aud": "shop-api", "sub": "ada", "azp": "app", "typ": "ID", "scope": "openid"},
    "cognito": {"aud": "app", "sub": "ada", "cognito:username": "ada", "token_use": "id"},
    "okta": {"aud": "api://default", "sub": "00u1", "jti": "ID.1", "at_hash": "h"},
}
APPLICATION: Mapping[str, Mapping[str, Any]] = {
    "generic": {"sub": "app"},
    "auth0": {"sub": "app@clients", "gty": "client-credentials"},
    "entra": {"idtyp": "app", "scp": None, "roles": ["a"]},
    "keycloak": {"sub": "0d8b", "preferred_username": "service-account-app"},
    "cognito": {"sub": "app", "username": None},
    "okta": {"sub": "app", "uid": None},
}


def read(preset: str, claims: Mapping[str, Any], *, typ: str | None = "jwt", **section: Any) -> AccessToken:
    given = {"id": "idp", "kind": "oidc", "preset": preset, **SECTIONS[preset], **section}
    configured = OidcProvider.model_validate({name: value for name, value in given.items() if value is not None})
    provider = identity_provider_of(configured)
    said = {name: value for name, value in {"iss": provider.issuer, **TIMES, **claims}.items() if value is not None}
    signed = SignedToken("RS256", said, b"", None)
    rules = access_token_rules(configured)
    return check_access_token(signed, typ, rules, provider=provider, announced=None, now=NOW)


@pytest.mark.parametrize("preset", SECTIONS)
def test_an_access_token_names_person_client_and_scopes(preset: str) -> None:
    token = read(preset, ACCESS[preset])
    assert token.client_id == "app"
    assert "a" in token.scope
    assert not token.by_application
    expected = {"auth0": "auth0|ada", "okta": "00u1"}
    assert token.subject == expected.get(preset, "ada")


@pytest.mark.parametrize("preset", SECTIONS)
def test_an_id_token_is_no_access_token(preset: str) -> None:
    with pytest.raises(ProviderTokenInvalid) as refused:
        read(preset, ID[preset])
    assert refused.value.cause == "typ"


@pytest.mark.parametrize("preset", SECTIONS)
def test_a_token_of_an_application_is_known(preset: str) -> None:
    assert read(preset, {**ACCESS[preset], **APPLICATION[preset]}).by_application


@pytest.mark.parametrize("preset", SECTIONS)
@pytest.mark.parametrize("mark", [{"gty": "client-credentials"}, {"idtyp": "app"}], ids=str)
def test_what_only_a_provider_says_of_an_application_counts_in_every_preset(
    preset: str, mark: Mapping[str, Any]
) -> None:
    assert read(preset, {**ACCESS[preset], **mark}).by_application


@pytest.mark.parametrize("preset", SECTIONS)
@pytest.mark.parametrize("name", [{"sub": "x@clients"}, {"preferred_username": "service-account-x"}], ids=str)
def test_the_name_of_an_application_is_never_that_of_a_person(preset: str, name: Mapping[str, Any]) -> None:
    """Only Auth0's or Keycloak's own names prove an application: elsewhere a person may have chosen them."""
    said = {**ACCESS[preset], **name}
    if (preset, *name) in {("auth0", "sub"), ("keycloak", "preferred_username")}:
        assert read(preset, said).by_application
    else:
        with pytest.raises(ProviderTokenInvalid) as refused:
            read(preset, said)
        assert refused.value.cause == "subject"


@pytest.mark.parametrize("preset", SECTIONS)
@pytest.mark.parametrize("audience", [[], ["another"], "another", 7, {"app": True}, [7]], ids=str)
def test_row_010_a_token_for_another_api_is_refused(preset: str, audience: Any) -> None:
    with pytest.raises(ProviderTokenInvalid) as refused:
        read(preset, {**ACCESS[preset], "aud": audience})
    assert refused.value.cause == "audience"


def test_row_010_without_an_audience_only_cognito_s_client_stands_for_it() -> None:
    assert read("cognito", ACCESS["cognito"]).audience == ("app",)
    with pytest.raises(ProviderTokenInvalid):
        read("cognito", {**ACCESS["cognito"], "client_id": "another"})
    for preset in SECTIONS.keys() - {"cognito"}:
        with pytest.raises(ProviderTokenInvalid):
            read(preset, {**ACCESS[preset], "aud": None})


@pytest.mark.parametrize("preset", SECTIONS)
def test_the_clients_may_be_limited(preset: str) -> None:
    with pytest.raises(ProviderTokenInvalid) as refused:
        read(preset, ACCESS[preset], allowed_clients=["another"])
    assert refused.value.cause == "client"


@pytest.mark.parametrize("typ", ["jwt", None])
def test_without_a_type_of_its_own_an_access_token_needs_a_mark(typ: str | None) -> None:
    """Providers that follow RFC 7519 only leave the type out, or have JWT for all tokens."""
    said = {"aud": "https://api.example", "sub": "ada"}
    for mark in ({"scope": "a"}, {"scp": ["a"]}, {"client_id": "app"}):
        assert read("generic", {**said, **mark}, typ=typ).subject == "ada"
        for of_a_sign_in in ("nonce", "at_hash", "c_hash", "s_hash"):
            with pytest.raises(ProviderTokenInvalid):
                read("generic", {**said, **mark, of_a_sign_in: "x"}, typ=typ)
    with pytest.raises(ProviderTokenInvalid):
        read("generic", {**said, "azp": "app"}, typ=typ)


@pytest.mark.parametrize("typ", ["jwt", "at+jwt", None])
@pytest.mark.parametrize(
    "kind", [{"token_use": "refresh"}, {"token_type": "refresh_token"}, {"typ": "Offline"}], ids=str
)
def test_a_refresh_token_that_is_a_jwt_is_no_access_token(typ: str | None, kind: Mapping[str, str]) -> None:
    with pytest.raises(ProviderTokenInvalid) as refused:
        read("generic", {**ACCESS["generic"], **kind}, typ=typ)
    assert refused.value.cause == "typ"


class TestEntra:
    def test_v1_and_v2_tokens_are_of_the_same_person(self) -> None:
        v1 = {**ACCESS["entra"], "iss": V1.format(ONE), "aud": "api://app", "azp": None, "appid": "app", "ver": "1.0"}
        one, two = read("entra", v1), read("entra", ACCESS["entra"])
        assert (one.issuer, one.subject) == (two.issuer, two.subject) == (V2.format(ONE), "ada")
        assert one.client_id == two.client_id

    def test_one_person_in_two_tenants_is_two(self) -> None:
        both = {"tenant": "organizations", "allowed_tenants": [ONE, TWO]}
        of_two = {**ACCESS["entra"], "iss": V2.format(TWO), "tid": TWO}
        one, two = read("entra", ACCESS["entra"], **both), read("entra", of_two, **both)
        assert one.issuer != two.issuer
        assert one.subject == two.subject

    @pytest.mark.parametrize(
        "claims",
        [
            {"iss": V2.format(STRANGE), "tid": STRANGE},
            {"iss": V1.format(STRANGE), "tid": STRANGE},
            {"iss": V2.format(ONE), "tid": TWO},
            {"iss": V2.format(STRANGE), "tid": ONE},
            {"iss": V2.format(ONE), "tid": None},
            {"iss": V2.format(f"{ONE}/v2.0/..")},
            {"iss": f"https://login.microsoftonline.com.evil.example/{ONE}/v2.0"},
            {"iss": f"https://sts.windows.net/{ONE}"},
            {"iss": V1.format("")},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("tenant", [ONE, "organizations"])
    def test_tokens_of_other_tenants_are_refused(self, tenant: str, claims: Mapping[str, Any]) -> None:
        allowed = [ONE, TWO] if tenant == "organizations" else []
        with pytest.raises(ProviderTokenInvalid):
            read("entra", {**ACCESS["entra"], **claims}, tenant=tenant, allowed_tenants=allowed)

    def test_an_address_is_never_the_person(self) -> None:
        with pytest.raises(ProviderTokenInvalid):
            read("entra", {**ACCESS["entra"], "oid": None, "email": "ada@example.org", "upn": "ada@example.org"})
