"""Settings of identity providers: what a section needs, and the sentence where something is wrong with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from shopkeeper.settings import Settings, SettingsError, findings, load, redirect_uris
from shopkeeper.settings.describe import describe

Write = Callable[..., Path]

TENANT = "6f1c3f7e-0d5a-4c1a-9a55-0d3c1c8e3b11"
IDP = {"id": "idp", "kind": "oidc", "issuer": "https://idp.example", "audiences": ["https://api.shop.example"]}
ENTRA = {"id": "entra", "kind": "oidc", "preset": "entra", "tenant": TENANT, "audiences": ["api://shop"]}
STORES = [{"id": "kettle", "tenants": ["eu", "us"]}, {"id": "quince"}]


@pytest.fixture
def read(write: Write) -> Callable[..., Settings]:
    def read(*providers: dict[str, Any], environment: dict[str, str] | None = None, **more: Any) -> Settings:
        text = yaml.safe_dump({"providers": list(providers), **more})
        return load([write(text)], environment or {}, dev=True, demo=False)

    return read


def test_a_provider_of_openid(read: Callable[..., Settings]) -> None:
    (provider,) = read({**IDP, "preset": "keycloak", "clock_skew": "30s"}).providers
    assert (provider.id, provider.kind, provider.facts.roles_claim) == ("idp", "oidc", "realm_access.roles")
    assert provider.clock_skew.total_seconds() == 30
    assert not provider.password_grant.enabled
    assert not provider.sign_in


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"issuer": None}, "needs issuer"),
        ({"audiences": []}, "must not be empty"),
        ({"audiences": None}, "required"),
        ({"id": "own"}, "this server's own identities"),
        ({"id": "a:b"}, "letters, digits"),
        ({"kind": "ldap"}, "oidc"),
        ({"tenant": TENANT}, "is not entra"),
        ({"clock_skew": "6m"}, "at most 5m"),
        ({"cache": "2h"}, "at most 1h"),
        ({"sign_in": True}, "needs client_id for sign_in"),
        ({"opaque_tokens": "introspection"}, "needs client_id for opaque_tokens"),
        ({"password_grant": {"enabled": True}}, "needs client_id for password_grant"),
        ({"client_id": "shop", "audiences": ["shop"]}, "audience of ID tokens"),
        ({"allowed_clients": ["app"], "audiences": ["x", "app"]}, "audience of ID tokens"),
        ({"unknown": 1}, "not a known setting"),
    ],
    ids=str,
)
def test_what_a_section_needs(read: Callable[..., Settings], changed: dict[str, Any], sentence: str) -> None:
    section = {name: value for name, value in {**IDP, **changed}.items() if value is not None}
    with pytest.raises(SettingsError) as refused:
        read(section)
    assert sentence in " ".join(problem.sentence for problem in refused.value.problems)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"tenant": None}, "needs tenant"),
        ({"tenant": "shop.onmicrosoft.com"}, "the id of a tenant"),
        ({"tenant": "organizations"}, "needs allowed_tenants"),
        ({"allowed_tenants": [TENANT]}, "beside one tenant"),
        ({"issuer": "https://idp.example"}, "leave it out"),
    ],
    ids=str,
)
def test_what_entra_needs(read: Callable[..., Settings], changed: dict[str, Any], sentence: str) -> None:
    section = {name: value for name, value in {**ENTRA, **changed}.items() if value is not None}
    with pytest.raises(SettingsError) as refused:
        read(section)
    assert sentence in " ".join(problem.sentence for problem in refused.value.problems)


def test_entra_may_have_one_id_for_the_api_and_its_client(read: Callable[..., Settings]) -> None:
    (provider,) = read({**ENTRA, "client_id": "0f3c", "audiences": ["0f3c", "api://shop"]}).providers
    assert provider.audiences == ("0f3c", "api://shop")


def test_a_store_names_its_provider(read: Callable[..., Settings]) -> None:
    settings = read(IDP, stores=[{**STORES[0], "provider": "idp"}, STORES[1]], default_store="kettle")
    assert [store.provider for store in settings.stores] == ["idp", "own"]
    with pytest.raises(SettingsError, match="not among the providers"):
        read(IDP, stores=[{**STORES[0], "provider": "odp"}], default_store="kettle")


def test_a_provider_names_stores_that_are_there(read: Callable[..., Settings]) -> None:
    for known in (["kettle@us", "quince"], ["kettle"]):
        read({**IDP, "stores": known}, stores=STORES, default_store="kettle")
    with pytest.raises(SettingsError, match="not among the stores"):
        read({**IDP, "stores": ["kettle@uk"]}, stores=STORES, default_store="kettle")


KRATOS = {"id": "k", "kind": "kratos", "public_url": "https://accounts.example"}


@pytest.mark.parametrize(
    ("provider", "sentence"),
    [
        ({**IDP, "audiences": None}, "providers[0].audiences is required."),
        ({**IDP, "client_id": 5}, "providers[0].client_id must be text; put it in quotes."),
        ({**IDP, "sign_in": True}, "providers[0] (idp) needs client_id for sign_in."),
        ({**IDP, "public_url": "https://x"}, "providers[0].public_url is only for providers of kind: kratos; leave it"),
        ({**KRATOS, "issuer": "https://x"}, "providers[0].issuer is only for providers of kind: oidc; leave it out."),
        ({**KRATOS, "cookie": "a b"}, "providers[0].cookie is the name of a cookie"),
        ({**KRATOS, "kind": "oauth"}, "providers[0] has a 'kind' that is not known; there are 'oidc', 'kratos'."),
        ({**KRATOS, "kind": None}, "providers[0] needs 'kind', which says what it is."),
    ],
    ids=str,
)
def test_a_fault_is_named_by_the_path_that_the_file_has(
    read: Callable[..., Settings], provider: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        read(provider)
    (problem,) = refused.value.problems
    assert problem.sentence.startswith(sentence)
    assert problem.sentence.startswith(problem.path)


def test_two_providers_with_one_id(read: Callable[..., Settings]) -> None:
    with pytest.raises(SettingsError, match="give it its own"):
        read(IDP, {**IDP, "issuer": "https://other.example"})
    social = {"id": "idp", "provider": "google", "client_id": "c", "client_secret": "s"}
    method = {"oidc": {"enabled": True, "config": {"providers": [social]}}}
    with pytest.raises(SettingsError, match="give it its own"):
        read(IDP, selfservice={"methods": method})


def test_secrets_may_be_in_files_and_are_never_shown(read: Callable[..., Settings], folder: Path) -> None:
    (folder / "secret").write_text("9f3c1b7ae2d0485f\n")
    variables = {
        "PROVIDERS_0_CLIENT_SECRET_FILE": str(folder / "secret"),
        "PROVIDERS_0_PASSWORD_GRANT_CLIENT_SECRET": "pq",
    }
    settings = read({**IDP, "client_id": "shop"}, environment=variables)
    (provider,) = settings.providers
    assert provider.client_secret is not None
    assert provider.client_secret.get_secret_value() == "9f3c1b7ae2d0485f"
    assert provider.password_grant.client_secret is not None
    shown = dict(describe(settings))["providers"]
    assert "9f3c" not in shown
    assert "pq" not in shown


def test_a_token_is_of_one_provider_only(read: Callable[..., Settings]) -> None:
    with pytest.raises(SettingsError, match="audiences of both"):
        read(IDP, {**IDP, "id": "again", "audiences": ["https://other.example"]})
    shared = {**ENTRA, "id": "all", "tenant": "organizations", "allowed_tenants": [TENANT]}
    with pytest.raises(SettingsError, match="audiences of both"):
        read(ENTRA, shared)
    opaque = {"opaque_tokens": "userinfo"}
    with pytest.raises(SettingsError, match="does not say whose it is"):
        read({**IDP, **opaque}, {**IDP, **opaque, "id": "odp", "issuer": "https://odp.example"})


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"issuer": "http://idp.example"}, "issuer"),
        ({"jwks_url": "http://idp.example/jwks"}, "jwks_url"),
        ({"password_grant": {"token_url": "http://idp.example/token"}}, "password_grant.token_url"),
        ({"opaque_tokens": "userinfo"}, "opaque_tokens"),
        ({"client_id": "shop", "password_grant": {"enabled": True}}, "password_grant.enabled"),
    ],
    ids=str,
)
def test_what_the_operator_should_know(read: Callable[..., Settings], changed: dict[str, Any], path: str) -> None:
    assert not [each for each in findings(read(IDP)) if each.path.startswith("providers")]
    assert [each.path for each in findings(read({**IDP, **changed})) if each.path.startswith("providers")] == [
        f"providers[0].{path}"
    ]


def test_the_callback_of_a_provider_that_customers_sign_in_at_is_told(read: Callable[..., Settings]) -> None:
    settings = read({**IDP, "client_id": "shop", "sign_in": True, "label": "Ours"})
    assert list(redirect_uris(settings)) == [("Ours", "http://127.0.0.1:4433/self-service/methods/oidc/callback/idp")]
