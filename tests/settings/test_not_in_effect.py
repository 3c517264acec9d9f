"""Kratos' keys whose feature is still to come: accepted, and reported only where a configuration relies on them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shopkeeper.settings import Finding, known_keys, load
from shopkeeper.settings.not_in_effect import HOOKS_LATER, LATER
from shopkeeper.settings.selfservice import LoginHook, RegistrationHook

Write = Callable[..., Path]


def waiting(*files: Path, **environ: str) -> list[Finding]:
    return load(files, environ, dev=True, demo=False).not_in_effect()


def test_an_empty_configuration_reports_nothing() -> None:
    assert waiting() == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("selfservice: {methods: {totp: {enabled: true}}}", "selfservice.methods.totp"),
        ("selfservice: {methods: {code: {mfa_enabled: true}}}", "selfservice.methods.code.mfa_enabled"),
        ("selfservice: {flows: {settings: {before: {hooks: [{}]}}}}", "selfservice.flows.settings.before"),
        (
            "selfservice: {flows: {settings: {after: {totp: {hooks: [{}]}}}}}",
            "selfservice.flows.settings.after.totp",
        ),
        ("selfservice: {flows: {login: {before: {hooks: [{hook: web_hook}]}}}}", "selfservice.flows.login.before"),
        (
            "selfservice: {flows: {login: {after: {hooks: [{hook: web_hook}]}}}}",
            "selfservice.flows.login.after.hooks[0]",
        ),
        ("oauth2_provider: {url: 'http://hydra:4445'}", "oauth2_provider"),
        ("tracing: {provider: otel, providers: {otlp: {server_url: x}}}", "tracing"),
        ("feature_flags: {choose_recovery_address: true}", "feature_flags.choose_recovery_address"),
    ],
)
def test_what_is_set_is_named(write: Write, text: str, path: str) -> None:
    (finding,) = waiting(write(text))
    assert finding.path == path
    assert "is not in effect yet" in finding.sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "hashers: {algorithm: bcrypt}",
            "hashers.algorithm has no effect, and will have none: passwords are always hashed with Argon2id.",
        ),
        (
            "serve: {public: {tls: {cert: {path: a.pem}}}}",
            "serve.public.tls (set: cert.path) has no effect, and will have none: TLS ends in front of Shopkeeper, at"
            " your proxy.",
        ),
        (
            "expose-metrics-port: 4000",
            "expose-metrics-port has no effect, and will have none: the figures of mails are in /metrics of the admin"
            " port.",
        ),
        (
            "selfservice: {methods: {oidc: {enable_auto_link_policy: true}}}",
            "selfservice.methods.oidc.enable_auto_link_policy has no effect, and will have none: an address proves"
            " nobody, so that no imported account is linked by it.",
        ),
        (
            "selfservice: {methods: {saml: {enabled: true}}}",
            "selfservice.methods.saml (set: enabled) has no effect, and will have none: there is no SAML here.",
        ),
    ],
)
def test_what_will_never_have_an_effect_is_not_called_late(write: Write, text: str, sentence: str) -> None:
    assert [finding.sentence for finding in waiting(write(text))] == [sentence]


def test_every_row_names_its_feature_or_says_why_there_will_be_none() -> None:
    assert [row.where for row in LATER if bool(row.what) is bool(row.never)] == []


@pytest.mark.parametrize(
    "text",
    [
        "selfservice: {methods: {link: {enabled: false}, totp: {enabled: false, config: {issuer: x}}}}",
        "selfservice: {flows: {login: {after: {password: {hooks: [{hook: revoke_active_sessions}]}}}}}",
        "selfservice: {flows: {registration: {after: {password: {hooks: [{hook: session}]}}}}}",
        "hashers: {algorithm: argon2}",
        "feature_flags: {cacheable_sessions: false}",
        "session: {whoami: {required_aal: aal1}}",
        "selfservice: {flows: {settings: {required_aal: aal1}}}",
    ],
)
def test_what_is_off_or_what_we_do_anyway_is_not_reported(write: Write, text: str) -> None:
    assert waiting(write(text)) == []


def test_a_key_from_the_environment_is_reported_too() -> None:
    assert [finding.path for finding in waiting(SELFSERVICE_METHODS_TOTP_ENABLED="true")] == [
        "selfservice.methods.totp"
    ]
    assert waiting(SELFSERVICE_METHODS_TOTP_ENABLED="false") == []


def test_the_table_names_no_key_that_is_in_effect() -> None:
    in_effect = {key.path for key in known_keys() if key.later is None}
    assert in_effect.isdisjoint(path.removesuffix(".*") for later in LATER for path in later.paths())


def test_nothing_is_in_effect_below_a_place_that_is_said_not_to_be() -> None:
    """Regression: `selfservice.flows.settings is not in effect yet`, long after that flow had come."""
    in_effect = [key.path for key in known_keys() if key.later is None]
    places = {later.where for later in LATER if later.keys}
    assert [path for path in in_effect if any(path.startswith((f"{place}.", f"{place}[")) for place in places)] == []


def test_every_waiting_hook_is_a_hook() -> None:
    names = {name for hook in (LoginHook, RegistrationHook) for name in hook.model_fields["hook"].annotation.__args__}
    in_effect = {
        "session",
        "revoke_active_sessions",
        "require_verified_address",
        "show_verification_ui",
        "verification",
    }
    assert names - HOOKS_LATER.keys() == in_effect
    assert HOOKS_LATER.keys() <= names
