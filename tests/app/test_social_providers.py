"""Providers of social sign-in: what their settings and presets come to, and what stops the start."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from joserfc.jwk import ECKey, RSAKey

from shopkeeper.app import Misconfigured, dry_run, opened
from shopkeeper.app.social_providers import provider_of
from shopkeeper.clock import SystemClock
from shopkeeper.openid.client_secret import ClientSecret
from shopkeeper.openid.errors import ProviderAnswerInvalid
from shopkeeper.openid.presets import PRESETS
from shopkeeper.openid.provider import Endpoints, Provider, SigningSecret
from shopkeeper.settings import Settings, load
from shopkeeper.settings.openid_providers import OpenIDProvider
from tests.services.web import says, serving

USABLE = sorted(name for name, preset in PRESETS.items() if not preset.unsupported)
KEY = ECKey.generate_key("P-256", private=True).as_pem(private=True).decode()
TENANT = "8eaef023-2b34-4da1-9baa-8bc8c9d6a490"
NEEDED: dict[str, dict[str, Any]] = {
    "generic": {"issuer_url": "https://idp.example"},
    "auth0": {"issuer_url": "https://shop.eu.auth0.com"},
    "salesforce": {"issuer_url": "https://login.salesforce.com"},
    "microsoft": {"microsoft_tenant": "common"},
    "apple": {
        "client_secret": None,
        "apple_team_id": "TEAM",
        "apple_private_key_id": "KEY",
        "apple_private_key": KEY,
    },
}

GENERIC = {
    "id": "idp",
    "provider": "generic",
    "client_id": "c",
    "client_secret": "s",
    "issuer_url": "https://i.example",
}


def jsonnet(source: str) -> str:
    return "base64://" + base64.b64encode(source.encode()).decode()


def section(provider: str, **changed: Any) -> OpenIDProvider:
    given = {"id": "p", "provider": provider, "client_id": "shop", "client_secret": "s", **NEEDED.get(provider, {})}
    return OpenIDProvider(**{name: value for name, value in {**given, **changed}.items() if value is not None})


def provider(name: str, **changed: Any) -> Provider:
    return provider_of(section(name, **changed))


class TestPresets:
    @pytest.mark.parametrize("name", USABLE)
    def test_every_preset_makes_a_provider(self, name: str) -> None:
        made = provider(name)
        assert made.issuer.startswith("https://")
        assert made.label
        assert made.has_id_token is made.discovers is PRESETS[name].openid
        assert made.discovers or all((made.endpoints.authorization, made.endpoints.token, made.endpoints.userinfo))

    def test_what_the_settings_say_wins(self) -> None:
        made = provider(
            "google",
            label="Gmail",
            auth_url="https://a.example/auth",
            token_url="https://a.example/token",
            scope=["openid", "email", "phone"],
            pkce="force",
            claims_source="userinfo",
            requested_claims={"id_token": {"email": None}},
            additional_id_token_audiences=["ios", "android"],
            account_linking_mode="automatic",
            aal2_amr_values=["mfa"],
        )
        assert made.label == "Gmail"
        assert made.endpoints == Endpoints(authorization="https://a.example/auth", token="https://a.example/token")
        assert made.scope == ("openid", "email", "phone")
        assert (made.pkce, made.claims_source, made.linking) == ("force", "userinfo", "automatic")
        assert made.requested_claims == {"id_token": {"email": None}}
        assert made.additional_audiences == ("ios", "android")
        assert made.aal2_amr_values == ("mfa",)

    @pytest.mark.parametrize(
        ("name", "changed", "label"),
        [("github", {}, "GitHub"), ("generic", {}, "p"), ("generic", {"label": "Our staff"}, "Our staff")],
    )
    def test_a_button_says_the_label_or_the_provider_or_the_id(
        self, name: str, changed: dict[str, Any], label: str
    ) -> None:
        assert provider(name, **changed).label == label

    def test_openid_is_asked_for_also_where_the_section_of_kratos_leaves_it_out(self) -> None:
        assert provider("google", scope=["email"]).scope == ("openid", "email")

    def test_oauth2_without_openid_is_not_asked_for_an_id_token(self) -> None:
        assert provider("discord", scope=["openid", "email"]).scope == ("identify", "email")
        assert provider("github", scope=["openid", "user:email"]).has_id_token is False

    @pytest.mark.parametrize(("name", "takes"), [("google", True), ("github", False)])
    def test_apps_may_hand_in_id_tokens_of_providers_that_make_some(self, name: str, takes: bool) -> None:
        assert provider(name).id_token_native is takes

    def test_google_knows_offline_access_as_a_parameter(self) -> None:
        made = provider("google", scope=["email", "offline_access"])
        assert (made.scope, made.authorization_parameters) == (("openid", "email"), {"access_type": "offline"})

    def test_a_provider_without_secret_proves_itself_by_pkce_alone(self) -> None:
        made = provider("generic", client_secret=None, pkce="force")
        assert (made.client_secret, made.token_auth, made.pkce) == (None, "none", "force")


class TestIssuers:
    @pytest.mark.parametrize(
        ("name", "configured", "issuer"),
        [
            ("generic", "https://idp.example/realms/shop", "https://idp.example/realms/shop"),
            ("generic", "https://idp.example/", "https://idp.example/"),
            ("auth0", "https://shop.eu.auth0.com", "https://shop.eu.auth0.com/"),
            ("auth0", "https://shop.eu.auth0.com/", "https://shop.eu.auth0.com/"),
            ("gitlab", "https://git.shop.example", "https://git.shop.example"),
            ("gitlab", None, "https://gitlab.com"),
            ("github", "https://evil.example", "https://github.com"),
            ("uaepass", "https://stg-id.uaepass.ae/", "https://stg-id.uaepass.ae/"),
        ],
    )
    def test_the_issuer_is_as_the_provider_spells_it(self, name: str, configured: str | None, issuer: str) -> None:
        assert provider(name, issuer_url=configured).issuer == issuer

    def test_endpoints_follow_an_issuer_of_ones_own(self) -> None:
        made = provider("uaepass", issuer_url="https://stg-id.uaepass.ae/")
        assert made.endpoints.token == "https://stg-id.uaepass.ae/idshub/token"


class TestMicrosoft:
    @pytest.mark.parametrize("tenant", [TENANT, TENANT.upper()])
    def test_a_tenant_has_its_own_issuer(self, tenant: str) -> None:
        made = provider("microsoft", microsoft_tenant=tenant)
        assert (made.issuer, made.issuer_template) == (f"https://login.microsoftonline.com/{TENANT}/v2.0", None)
        assert made.id_token_native

    def test_personal_accounts_have_one_tenant(self) -> None:
        made = provider("microsoft", microsoft_tenant="consumers")
        assert made.issuer == "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"
        assert made.issuer_template is None

    @pytest.mark.parametrize("tenant", ["common", "organizations", "contoso.onmicrosoft.com"])
    def test_the_issuer_of_several_tenants_is_that_of_the_token(self, tenant: str) -> None:
        made = provider("microsoft", microsoft_tenant=tenant)
        assert made.issues(f"https://login.microsoftonline.com/{TENANT}/v2.0")
        assert not made.issues(f"https://login.evil.example/{TENANT}/v2.0")
        assert not made.id_token_native

    def test_organizations_have_no_personal_accounts(self) -> None:
        made = provider("microsoft", microsoft_tenant="organizations")
        assert made.refused_tenants == {"9188040d-6c67-4c5b-b112-36a304b66dad"}

    @pytest.mark.parametrize(("source", "claim"), [("userinfo", "sub"), ("oid", "oid"), ("me", "oid")])
    def test_the_subject_comes_from_where_the_settings_say(self, source: str, claim: str) -> None:
        assert provider("microsoft", subject_source=source, scope=["email"]).subject_claim == claim


class TestApple:
    def test_its_secret_is_signed_by_the_key(self) -> None:
        secret = provider("apple").client_secret
        assert isinstance(secret, SigningSecret)
        assert (secret.issuer, secret.key_id, secret.audience) == ("TEAM", "KEY", "https://appleid.apple.com")
        assert KEY.strip().splitlines()[1] not in repr(secret)

    def test_a_key_in_a_variable_may_have_its_line_breaks_written_out(self) -> None:
        secret = provider("apple", apple_private_key=KEY.replace("\n", "\\n")).client_secret
        made = ClientSecret("shop", secret, SystemClock()).get()
        assert made is not None
        assert made.count(".") == 2

    def test_it_answers_by_a_form(self) -> None:
        assert provider("apple").authorization_parameters == {"response_mode": "form_post"}


class TestStart:
    @staticmethod
    def settings(folder: Path, *sections: Mapping[str, Any]) -> Settings:
        file = folder / "shop.yml"
        oidc = {"enabled": True, "config": {"providers": list(sections)}}
        file.write_text(yaml.safe_dump({"dsn": "memory", "selfservice": {"methods": {"oidc": oidc}}}))
        return load([file], {}, dev=True, demo=False)

    async def test_a_provider_that_is_down_stops_no_start(self, tmp_path: Path) -> None:
        dead = {**GENERIC, "issuer_url": "http://127.0.0.1:9", "mapper_url": jsonnet("{}")}
        await dry_run(self.settings(tmp_path, dead, {**GENERIC, "id": "second"}))

    async def test_no_provider_takes_the_answer_of_another_one(self, tmp_path: Path) -> None:
        github = {"id": "github", "provider": "github", "client_id": "c", "client_secret": "s"}
        async with opened(self.settings(tmp_path, github, GENERIC)) as application:
            client = next(iter(application.accounts.methods.social)).client
            answer = {"code": "c-1", "iss": GENERIC["issuer_url"]}
            with pytest.raises(ProviderAnswerInvalid) as refused:
                await client.authenticate(answer, redirect_uri="", nonce="", code_verifier="")
        assert (client.provider.id, refused.value.cause) == ("github", "mix_up")

    @pytest.mark.parametrize(
        ("changed", "sentence"),
        [
            (
                {"mapper_url": "file:///nowhere/mapper.jsonnet"},
                "providers[1].mapper_url (idp) cannot be used: it cannot be read (No such file or directory).",
            ),
            ({"mapper_url": "base64://!"}, "mapper_url (idp) cannot be used: what follows base64:// is not base64."),
            (
                {"mapper_url": jsonnet("local a = 1;\n{identity: b}")},
                "cannot be used as Jsonnet: line 2: Unknown variable: b.",
            ),
            (
                {"mapper_url": jsonnet("x" * 300_000)},
                "mapper_url (idp) cannot be used: it is larger than 262144 bytes.",
            ),
        ],
    )
    async def test_a_mapper_that_cannot_be_used_stops_the_start(
        self, tmp_path: Path, changed: Mapping[str, Any], sentence: str
    ) -> None:
        with pytest.raises(Misconfigured) as refused:
            await dry_run(self.settings(tmp_path, {**GENERIC, "id": "first"}, {**GENERIC, **changed}))
        assert str(refused.value).endswith(sentence)

    async def test_mappers_are_read_from_files_and_from_other_servers(self, tmp_path: Path) -> None:
        source = b"{identity: {traits: {email: std.extVar('claims').email}}}"
        (tmp_path / "mapper.jsonnet").write_bytes(source)
        async with serving("127.0.0.1") as server:
            server.answers["/mapper"] = says(source)
            server.answers["/gone"] = says(status="404 Not Found")
            by_file = {**GENERIC, "mapper_url": (tmp_path / "mapper.jsonnet").as_uri()}
            # The provider is on this machine, so that its origin may be called.
            by_http = {**GENERIC, "id": "second", "issuer_url": server.url(""), "mapper_url": server.url("/mapper")}
            await dry_run(self.settings(tmp_path, by_file, by_http))
            assert len(server.heads) == 1
            with pytest.raises(Misconfigured, match=r"mapper_url \(second\) cannot be used: 127\.0\.0\.1 answered 404"):
                await dry_run(self.settings(tmp_path, {**by_http, "mapper_url": server.url("/gone")}))

    @pytest.mark.parametrize(
        "key",
        [
            "hunter2hunter2",
            RSAKey.generate_key(2048, private=True).as_pem(private=True).decode(),
            ECKey.generate_key("P-384", private=True).as_pem(private=True).decode(),
            ECKey.generate_key("P-256", private=True).as_pem(private=False).decode(),
        ],
        ids=["no key", "RSA", "another curve", "the public half"],
    )
    async def test_a_key_that_cannot_sign_stops_the_start(self, tmp_path: Path, key: str) -> None:
        apple = {"id": "apple", "provider": "apple", "client_id": "shop", **NEEDED["apple"], "apple_private_key": key}
        del apple["client_secret"]
        with pytest.raises(Misconfigured) as refused:
            await dry_run(self.settings(tmp_path, apple))
        assert "providers[0].apple_private_key (apple) is no private key" in str(refused.value)
        assert key.strip().splitlines()[-1] not in str(refused.value)


class TestSampleClaims:
    @pytest.mark.parametrize(
        ("source", "fault"),
        [
            (None, None),
            ("{identity: {traits: {email: std.extVar('claims').email}}}", None),
            ("{identity: {traits: {email: std.extVar('claims').raw_claims.email}}}", None),
            ("{identity: {traits: {}}}", None),
            ("{}", "its result is no identity: Object missing required field `identity`"),
            (
                "local c = std.extVar('claims');\n{identity: {traits: {email: c.mail}}}",
                "it fails in line 2: Field does not exist: mail",
            ),
            ("error 'a\\n' + std.repeat('b', 5000)", f"it fails in line 1: a {'b' * 298}"),
            (
                "{identity: {traits: {mail: std.extVar('claims').email}}}",
                "its traits do not fit the identity schema: traits: There is no field of this name here: mail",
            ),
        ],
        ids=[
            "ours",
            "the address",
            "raw claims",
            "what is missing is asked for",
            "nothing",
            "a claim that is not there",
            "a long sentence of its own",
            "a trait that is not there",
        ],
    )
    async def test_a_mapper_is_tried_with_them(self, tmp_path: Path, source: str | None, fault: str | None) -> None:
        given = {**GENERIC, **({"mapper_url": jsonnet(source)} if source is not None else {})}
        told = [finding.sentence for finding in await dry_run(TestStart.settings(tmp_path, given))]
        place = "selfservice.methods.oidc.config.providers[0].mapper_url (idp) was tried with sample claims, and"
        assert told == ([] if fault is None else [f"{place} {fault}."])
