"""Settings of social sign-in: what a provider's section needs, and the sentence where something is wrong with it."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from shopkeeper.app.social_providers import provider_of
from shopkeeper.settings import Settings, SettingsError, findings, load, logout_uris, redirect_uris
from shopkeeper.settings.describe import describe
from shopkeeper.settings.openid_providers import OpenIDProvider

Write = Callable[..., Path]

IDP = {
    "id": "idp",
    "provider": "generic",
    "client_id": "shop",
    "client_secret": "s",
    "issuer_url": "https://idp.example",
}
APPLE = {
    "id": "apple",
    "provider": "apple",
    "client_id": "com.example.shop",
    "apple_team_id": "TEAM",
    "apple_private_key_id": "KEY",
    "apple_private_key": "-----BEGIN PRIVATE KEY-----",
}
PLACE = "selfservice.methods.oidc.config.providers"


def configured(*providers: dict[str, Any], **config: Any) -> str:
    method = {"enabled": True, "config": {"providers": list(providers), **config}}
    return yaml.safe_dump({"selfservice": {"methods": {"oidc": method}}})


@pytest.fixture
def read(write: Write) -> Callable[..., Settings]:
    return lambda *providers, **config: load([write(configured(*providers, **config))], {}, dev=True, demo=False)


def only(settings: Settings) -> OpenIDProvider:
    (provider,) = settings.selfservice.methods.oidc.providers
    return provider


def test_a_section_of_kratos_is_read_whole(read: Callable[..., Settings]) -> None:
    mapper = "base64://" + base64.b64encode(b"{identity: {traits: {}}}").decode()
    given = {
        **IDP,
        "label": "Example",
        "auth_url": "https://idp.example/authorize",
        "token_url": "https://idp.example/token",
        "mapper_url": mapper,
        "scope": ["openid", "email"],
        "requested_claims": {"id_token": {"email": {"essential": True}, "picture": None}},
        "claims_source": "userinfo",
        "pkce": "force",
        "additional_id_token_audiences": ["app"],
        "aal2_acr_values": ["mfa"],
        "aal2_amr_values": ["otp"],
        "account_linking_mode": "automatic",
    }
    settings = read(given, base_redirect_uri="https://auth.shop.example")
    provider = only(settings)
    shown = {name: getattr(provider, name) for name in given.keys() - {"client_secret"}}
    assert shown == {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items() if name in shown
    }
    assert provider.client_secret is not None
    assert provider.client_secret.get_secret_value() == "s"
    assert settings.selfservice.methods.oidc.config.base_redirect_uri == "https://auth.shop.example/"
    assert settings.not_in_effect() == []


def test_what_only_we_have_is_off_unless_it_is_asked_for(read: Callable[..., Settings]) -> None:
    provider = only(read(IDP))
    assert (provider.silent_sign_on, provider.rp_initiated_logout) == (False, False)
    assert provider.account_linking_mode == "confirm_with_existing_credential"


def test_an_empty_text_is_not_set(read: Callable[..., Settings]) -> None:
    """Exports of Kratos' configuration have every key."""
    empty = dict.fromkeys(("label", "auth_url", "mapper_url", "pkce", "microsoft_tenant", "apple_private_key"), "")
    provider = only(read({**IDP, **empty, "scope": None}))
    assert (provider.label, provider.auth_url, provider.pkce, provider.scope) == (None, None, "auto", ())
    assert provider_of(provider).client_secret == "s"


def test_claims_of_a_variable_keep_their_null(write: Write) -> None:
    name = f"{PLACE.replace('.', '_').upper()}_0_REQUESTED_CLAIMS"
    environ = {name: '{"id_token": {"email": null}}'}
    settings = load([write(configured(IDP))], environ, dev=True, demo=False)
    assert only(settings).requested_claims == {"id_token": {"email": None}}


def test_apple_has_a_key_in_place_of_a_secret(read: Callable[..., Settings]) -> None:
    assert only(read(APPLE)).client_secret is None


UNFINISHED = {"id": "google", "provider": "google", "client_id": "", "client_secret": "", "mapper_url": ""}


@pytest.mark.parametrize("off", [{}, {"enabled": False}, {"enabled": "false"}])
@pytest.mark.parametrize("provider", [IDP, UNFINISHED, {"id": "", "provider": ""}])
def test_the_providers_of_a_method_that_is_off_are_neither_offered_nor_looked_at(
    write: Write, provider: dict[str, Any], off: dict[str, Any]
) -> None:
    base = "https://auth.shop.example/"
    method = {**off, "config": {"base_redirect_uri": base, "providers": [provider]}}
    text = yaml.safe_dump({"selfservice": {"methods": {"oidc": method}}})
    oidc = load([write(text)], {}, dev=True, demo=False).selfservice.methods.oidc
    assert (oidc.enabled, oidc.providers, oidc.config.base_redirect_uri) == (False, (), base)


def test_switching_the_method_on_looks_at_them(write: Write) -> None:
    text = yaml.safe_dump({"selfservice": {"methods": {"oidc": {"config": {"providers": [UNFINISHED]}}}}})
    with pytest.raises(SettingsError, match="client_id"):
        load([write(text)], {"SELFSERVICE_METHODS_OIDC_ENABLED": "true"}, dev=True, demo=False)


def test_hooks_and_return_addresses_after_social_sign_in_are_in_effect(write: Write) -> None:
    after = {"oidc": {"default_browser_return_url": "https://shop.example/hi", "hooks": []}}
    flows: dict[str, Any] = {name: {"after": after} for name in ("login", "registration", "settings")}
    flows["registration"]["after"] = {"oidc": {"hooks": [{"hook": "session"}]}}
    read = load([write(yaml.safe_dump({"selfservice": {"flows": flows}}))], {}, dev=True, demo=False)
    assert read.not_in_effect() == []
    assert read.selfservice.flows.login.after.of("oidc").default_browser_return_url == "https://shop.example/hi"
    assert [hook.hook for hook in read.selfservice.flows.registration.after.hooks_of("oidc")] == ["session"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"issuer_url": None}, "[0] (idp) needs issuer_url, the address that the provider's metadata is read from."),
        ({"client_secret": None}, "[0] (idp) needs client_secret, or pkce: force where the provider gives none."),
        ({"client_secret": ""}, "[0] (idp) needs client_secret, or pkce: force where the provider gives none."),
        ({"provider": "gogle"}, "[0].provider is not a provider that is known here; google is the nearest."),
        ({"provider": "GitHub"}, "[0].provider is not a provider that is known here; github is the nearest."),
        (
            {"provider": "zzz"},
            "[0].provider is not a provider that is known here; write generic for any OpenID provider.",
        ),
        (
            {"provider": "fedex-jp"},
            "[0].provider is fedex-jp, which does not work here: its addresses are not published; write provider:"
            " generic with its issuer_url.",
        ),
        (
            {"provider": "slack", "scope": ["identity.basic"]},
            "[0] (idp) has the scope identity.basic, which is of Slack's former sign-in; write openid, email and"
            " profile.",
        ),
        (
            {"id": "my idp"},
            "[0].id may have letters, digits and - _ . ~ only, at most 64, because it is part of an address.",
        ),
        (
            {"id": ".."},
            "[0].id may have letters, digits and - _ . ~ only, at most 64, because it is part of an address.",
        ),
        (
            {"id": "a:b"},
            "[0].id may have letters, digits and - _ . ~ only, at most 64, because it is part of an address.",
        ),
        (
            {"issuer_url": "https://idp.example/.well-known/openid-configuration"},
            "[0].issuer_url is the address of the metadata; leave /.well-known/openid-configuration out, which is added"
            " to the issuer.",
        ),
        (
            {"issuer_url": "idp.example"},
            "[0].issuer_url must be an https:// address without query, exactly as the provider writes its issuer.",
        ),
        (
            {"mapper_url": "/etc/mapper.jsonnet"},
            "[0].mapper_url must be a file://, base64://, https:// or http:// address; a path needs file:// before it.",
        ),
        (
            {"requested_claims": {"idtoken": {"email": None}}},
            "[0].requested_claims has claims of id_token and userinfo, and nothing else.",
        ),
        ({"pkce": "always"}, "[0].pkce must be 'auto', 'never' or 'force'."),
        ({"client_id": ""}, "[0].client_id is required."),
        (
            {"microsoft_tenant": "common"},
            "[0] (idp) has microsoft_tenant, and is not microsoft; leave it out.",
        ),
        (
            {"provider": "microsoft"},
            "[0] (idp) needs microsoft_tenant: common, organizations, consumers or the id of your tenant.",
        ),
        (
            {"apple_team_id": "TEAM"},
            "[0] (idp) has a key of Apple, and is not Apple; leave out what begins with apple_.",
        ),
        (
            {"provider": "apple"},
            "[0] (idp) needs apple_team_id and apple_private_key_id and apple_private_key, from the key that you made"
            " at Apple.",
        ),
    ],
)
def test_a_fault_is_told_with_the_provider_and_what_to_do(
    read: Callable[..., Settings], change: dict[str, Any], sentence: str
) -> None:
    given = {name: value for name, value in {**IDP, **change}.items() if value is not None}
    with pytest.raises(SettingsError) as refused:
        read(given)
    assert [problem.sentence for problem in refused.value.problems] == [f"{PLACE}{sentence}"]


def test_apple_takes_no_client_secret(read: Callable[..., Settings]) -> None:
    with pytest.raises(SettingsError, match=r"\(apple\) has a client_secret, which Apple does not know"):
        read({**APPLE, "client_secret": "x"})


def test_two_providers_of_one_id_are_refused(read: Callable[..., Settings]) -> None:
    with pytest.raises(
        SettingsError, match=r"has providers\[0\] and providers\[2\] with the id idp; give each its own"
    ):
        read(IDP, APPLE, IDP)


def test_a_public_client_needs_no_secret_where_the_code_has_its_proof(read: Callable[..., Settings]) -> None:
    without = {name: value for name, value in IDP.items() if name != "client_secret"}
    assert only(read({**without, "pkce": "force"})).client_secret is None


def test_what_kratos_has_and_we_do_not_is_said(read: Callable[..., Settings]) -> None:
    further = {"organization_id": "o", "fedcm_config_url": "https://x"}
    told = {finding.path.rpartition(".")[2] for finding in read({**IDP, **further}).not_in_effect()}
    assert told == further.keys()


def test_secrets_come_from_files_and_are_never_shown(write: Write, folder: Path) -> None:
    (folder / "secret").write_text("hunter2hunter2\n")
    without = {name: value for name, value in IDP.items() if name != "client_secret"}
    environ = {f"{PLACE.replace('.', '_').upper()}_0_CLIENT_SECRET_FILE": str(folder / "secret")}
    settings = load([write(configured(without))], environ, dev=True, demo=False)
    secret = only(settings).client_secret
    assert secret is not None
    assert secret.get_secret_value() == "hunter2hunter2"
    shown = "\n".join(f"{name} {value}" for name, value in describe(settings))
    assert "id: idp" in shown
    assert "hunter2" not in f"{shown} {settings!r} {only(settings)}"


def test_all_providers_may_come_as_json_of_one_variable() -> None:
    """Kratos' way to keep client secrets out of a file."""
    environ = {
        "SELFSERVICE_METHODS_OIDC_ENABLED": "true",
        PLACE.replace(".", "_").upper(): '[{"id": "g", "provider": "google", "client_id": "c", "client_secret": "s"}]',
    }
    assert only(load([], environ, dev=True, demo=False)).provider == "google"


def test_the_section_with_which_kratos_was_recorded_is_in_effect(profiles: Path) -> None:
    settings = load([profiles / "social.yml"], {}, dev=True, demo=False)
    assert [provider.id for provider in settings.selfservice.methods.oidc.providers] == ["idp", "dead"]
    assert not [finding for finding in settings.not_in_effect() if "oidc" in finding.path]


class TestFindings:
    @staticmethod
    def told(write: Write, *providers: dict[str, Any], dev: bool = False, **flows: Any) -> list[tuple[str, str]]:
        method = {"enabled": True, "config": {"providers": list(providers)}}
        registration = {"after": {"oidc": {"hooks": [{"hook": "session"}]}}}
        selfservice = {"methods": {"oidc": method}, "flows": {"registration": registration, **flows}}
        settings = load([write(yaml.safe_dump({"selfservice": selfservice}))], {}, dev=dev, demo=False)
        return [(found.level, found.sentence) for found in findings(settings) if "oidc" in found.path]

    def test_a_sound_provider_has_none(self, write: Write) -> None:
        github = {"id": "github", "provider": "github", "client_id": "c", "client_secret": "s", "scope": ["user:email"]}
        assert self.told(write, IDP, github, {**APPLE, "scope": ["email", "name"]}) == []

    @pytest.mark.parametrize(
        ("change", "level", "said"),
        [
            (
                {"issuer_url": "http://idp.example"},
                "error",
                f"{PLACE}[0].issuer_url (idp) is plain http, so that anybody on the way could sign in as anybody; write"
                " https://.",
            ),
            (
                {"token_url": "http://idp.example/token"},
                "error",
                f"{PLACE}[0].token_url (idp) is plain http, so that anybody on the way could sign in as anybody; write"
                " https://.",
            ),
            (
                {"issuer_url": "http://localhost:9001"},
                "warning",
                f"{PLACE}[0].issuer_url (idp) is on this machine, which is not called; list http://localhost:9001/** in"
                " clients.http.private_ip_exception_urls.",
            ),
            (
                {"issuer_url": "https://10.1.2.3/realms/staff"},
                "warning",
                f"{PLACE}[0].issuer_url (idp) is in a private network, which is not called; list https://10.1.2.3/** in"
                " clients.http.private_ip_exception_urls.",
            ),
            (
                {"issuer_url": "https://[::1]:9001"},
                "warning",
                f"{PLACE}[0].issuer_url (idp) is on this machine, which is not called; list https://[::1]:9001/** in"
                " clients.http.private_ip_exception_urls.",
            ),
            (
                {"token_url": "https://192.168.0.9/token"},
                "warning",
                f"{PLACE}[0].token_url (idp) is in a private network, which is not called; list https://192.168.0.9/**"
                " in clients.http.private_ip_exception_urls.",
            ),
            (
                {"scope": ["openid", "profile"]},
                "warning",
                f"{PLACE}[0].scope (idp) does not ask for the mail address; add email, or customers have to type"
                " theirs.",
            ),
            (
                {"provider": "facebook", "account_linking_mode": "automatic"},
                "notice",
                f"{PLACE}[0].account_linking_mode (idp) has no effect here: Facebook does not say which addresses it"
                " has verified.",
            ),
            (
                {"provider": "discord", "silent_sign_on": True},
                "notice",
                f"{PLACE}[0].silent_sign_on (idp) has no effect here: Discord speaks no OpenID Connect.",
            ),
            (
                {"provider": "github", "rp_initiated_logout": True},
                "notice",
                f"{PLACE}[0].rp_initiated_logout (idp) has no effect here: GitHub speaks no OpenID Connect.",
            ),
            (
                {"provider": "twitch", "issuer_url": "https://idp.example"},
                "notice",
                f"{PLACE}[0].issuer_url (idp) has no effect here: Twitch has one issuer.",
            ),
        ],
    )
    def test_what_is_doubtful_is_said(self, write: Write, change: dict[str, Any], level: str, said: str) -> None:
        without = {name: value for name, value in IDP.items() if name != "issuer_url" or "provider" not in change}
        assert self.told(write, {**without, **change}) == [(level, said)]

    def test_what_is_plain_may_be_so_in_development(self, write: Write) -> None:
        assert {level for level, _ in self.told(write, {**IDP, "issuer_url": "http://idp.example"}, dev=True)} == {
            "notice"
        }
        assert self.told(write, {**IDP, "issuer_url": "http://127.0.0.1:9001"}, dev=True) == []
        assert [said for _, said in self.told(write, {**IDP, "issuer_url": "https://10.1.2.3"}, dev=True)] == [
            f"{PLACE}[0].issuer_url (idp) is in a private network, which is not called; list https://10.1.2.3/** in"
            " clients.http.private_ip_exception_urls."
        ]

    def test_a_method_without_providers_is_said(self, write: Write) -> None:
        ((level, sentence),) = self.told(write)
        assert (level, sentence.partition(",")[0]) == ("warning", f"{PLACE} is empty")

    def test_a_registration_that_signs_nobody_in_is_said(self, write: Write) -> None:
        ((level, sentence),) = self.told(write, IDP, registration={})
        assert level == "notice"
        assert "has no hook session" in sentence
        assert self.told(write, IDP, registration={"enabled": False}) == []


def test_each_provider_has_an_address_to_register(read: Callable[..., Settings]) -> None:
    settings = read(IDP, APPLE, base_redirect_uri="https://auth.shop.example/base/")
    assert list(redirect_uris(settings)) == [
        ("idp", "https://auth.shop.example/base/self-service/methods/oidc/callback/idp"),
        ("Apple (apple)", "https://auth.shop.example/base/self-service/methods/oidc/callback/apple"),
    ]


def test_providers_with_openid_connect_have_addresses_of_sign_outs(read: Callable[..., Settings]) -> None:
    github = {"id": "hub", "provider": "github", "client_id": "shop", "client_secret": "s"}
    settings = read({**IDP, "rp_initiated_logout": True}, {**APPLE, "label": "Apfel"}, github)
    base = "http://127.0.0.1:4433/self-service/methods/oidc"
    assert list(logout_uris(settings)) == [
        ("idp", "post-logout redirect URI", f"{base}/logout/callback"),
        ("idp", "back-channel logout URI", f"{base}/backchannel-logout/idp"),
        ("Apfel (apple)", "back-channel logout URI", f"{base}/backchannel-logout/apple"),
    ]
