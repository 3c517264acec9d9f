"""Kratos' keys without effect in Shopkeeper, as data: accepted, and reported when they are set.

Most wait for their feature: when it is added, delete its line here and add its fields to the model. Some will never
have an effect; their line says why.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True, eq=False)
class Later:
    """Keys that have no effect until their feature exists.

    `keys` are the names below `where` (empty: `where` itself is the key; `x.*`: anything below `x`; `x[].y`: a list).
    With `keys`, nothing below `where` is in effect: findings say so of `where` as a whole.
    `never` is the reason, as a sentence without full stop, where there will be no such feature; otherwise `what` names
    the feature. `switch` names the key that turns the feature on: while it is off, nothing is reported. `same` are
    values that ask for what happens anyway.
    """

    where: str
    what: str = ""
    keys: str = ""
    switch: str | None = None
    same: tuple[Any, ...] = ()
    never: str = ""

    @property
    def meaning(self) -> str:
        """What the reference says about it."""
        return f"Will have no effect: {self.never}" if self.never else f"For {self.what}"

    def paths(self) -> Iterator[str]:
        """Yield the full path of every key."""
        for key in self.keys.split():
            yield f"{self.where}.{key}".replace(".[]", "[]")
        if not self.keys:
            yield self.where


_AFTER: Final = "default_browser_return_url hooks"
_REQUEST: Final = (
    "request_config.url request_config.method request_config.headers.* request_config.body "
    "request_config.auth.type request_config.auth.config.*"
)
_TLS: Final = "cert.path cert.base64 key.path key.base64"
_TLS_IN_FRONT: Final = "TLS ends in front of Shopkeeper, at your proxy"
_SOCKET: Final = "owner group mode"
_RELYING_PARTY: Final = "config.rp.id config.rp.display_name config.rp.origin config.rp.origins config.rp.icon"
_FLAGS: Final = """
    cacheable_sessions choose_recovery_address legacy_oidc_registration_node_group
    password_profile_registration_node_group legacy_allow_insecure_origins
"""
_PROVIDERS: Final = "selfservice.methods.oidc.config.providers[]"
_UNTIL_SECOND: Final = "the second factor"
_UNTIL_WEBAUTHN: Final = "security keys"
_UNTIL_PASSKEY: Final = "passkeys"
_UNTIL_WEB_HOOK: Final = "web hooks"
_UNMARKED: Final = "codes for accounts whose schema has no marked address"

LATER: Final = (
    Later("serve.public.tls", keys=_TLS, never=_TLS_IN_FRONT),
    Later("serve.admin.tls", keys=_TLS, never=_TLS_IN_FRONT),
    Later("serve.public.socket", "listening on a Unix socket", _SOCKET),
    Later("serve.admin.socket", "listening on a Unix socket", _SOCKET),
    Later("serve.public.request_log.disable_for_health", "leaving health checks out of the log", same=(False,)),
    Later("serve.admin.request_log.disable_for_health", "leaving health checks out of the log", same=(False,)),
    Later("serve.public.cors.options_passthrough", never="preflights are answered here", same=(False,)),
    Later("serve.public.cors.debug", never="preflights are in the log like all requests", same=(False,)),
    Later(
        "serve.admin.cors",
        "browser calls to the admin API from other origins",
        "enabled allowed_origins allowed_methods allowed_headers exposed_headers allow_credentials max_age",
        switch="enabled",
    ),
    Later(
        "log.leak_sensitive_values",
        never="secrets and addresses are never written to the log",
        same=(False,),
    ),
    Later("log.redaction_text", "a text of your own in place of what is masked in the log"),
    Later("tracing", "tracing", "provider service_name deployment_environment providers.*"),
    Later("expose-metrics-port", never="the figures of mails are in /metrics of the admin port", same=(0,)),
    Later("watch-courier", never="outbox.worker says which process delivers mails", same=(True,)),
    Later("sqa-opt-out", never="there is no telemetry", same=(True, False)),
    Later("selfservice.flows.login.before", _UNTIL_WEB_HOOK, "hooks", same=([],)),
    Later("selfservice.flows.login.after.totp", _UNTIL_SECOND, _AFTER),
    Later("selfservice.flows.login.after.lookup_secret", _UNTIL_SECOND, _AFTER),
    Later("selfservice.flows.login.after.webauthn", _UNTIL_WEBAUTHN, _AFTER),
    Later("selfservice.flows.login.after.passkey", _UNTIL_PASSKEY, _AFTER),
    Later("selfservice.flows.registration.before", _UNTIL_WEB_HOOK, "hooks", same=([],)),
    Later(
        "selfservice.flows.registration.login_hints",
        "hints how to sign in when signing up finds an account",
        same=(False,),
    ),
    Later("selfservice.flows.registration.after.webauthn", _UNTIL_WEBAUTHN, _AFTER),
    Later("selfservice.flows.registration.after.passkey", _UNTIL_PASSKEY, _AFTER),
    Later("selfservice.flows.settings.before", _UNTIL_WEB_HOOK, "hooks", same=([],)),
    Later("selfservice.flows.settings.after.totp", _UNTIL_SECOND, _AFTER),
    Later("selfservice.flows.settings.after.webauthn", _UNTIL_WEBAUTHN, _AFTER),
    Later("selfservice.flows.settings.after.passkey", _UNTIL_PASSKEY, _AFTER),
    Later("selfservice.flows.settings.after.lookup_secret", _UNTIL_SECOND, _AFTER),
    Later("selfservice.flows.recovery.before", _UNTIL_WEB_HOOK, "hooks", same=([],)),
    Later("selfservice.flows.verification.before", _UNTIL_WEB_HOOK, "hooks", same=([],)),
    Later("selfservice.flows.logout.clear_browser_data", "clearing the browser's data at sign-out"),
    Later(
        "selfservice.methods.password.config.migrate_hook", "asking another system about a password", "enabled config.*"
    ),
    Later("selfservice.methods.password.config.password_profile_registration_node_group", "grouping profile fields"),
    Later("selfservice.methods.code.mfa_enabled", "one-time codes as a second factor", same=(False,)),
    Later("selfservice.methods.code.passwordless_login_fallback_enabled", _UNMARKED, same=(False,)),
    Later("selfservice.methods.code.config.missing_credential_fallback_enabled", _UNMARKED, same=(False,)),
    Later("selfservice.methods.totp", "one-time passwords", "enabled config.issuer", switch="enabled"),
    Later("selfservice.methods.lookup_secret", "recovery codes", "enabled", switch="enabled"),
    Later(
        "selfservice.methods.webauthn",
        _UNTIL_WEBAUTHN,
        f"enabled config.passwordless {_RELYING_PARTY}",
        switch="enabled",
    ),
    Later(
        "selfservice.methods.passkey",
        _UNTIL_PASSKEY,
        f"enabled {_RELYING_PARTY} config.authenticator_selection.*",
        switch="enabled",
    ),
    Later(
        "selfservice.methods.oidc.enable_auto_link_policy",
        never="an address proves nobody, so that no imported account is linked by it",
        same=(False,),
    ),
    Later(f"{_PROVIDERS}.organization_id", "organisations", same=("",)),
    Later(f"{_PROVIDERS}.fedcm_config_url", never="there is no FedCM here", same=("",)),
    Later(f"{_PROVIDERS}.net_id_token_origin_header", never="only FedCM needs it", same=("",)),
    Later("selfservice.methods.saml", keys="enabled config.*", switch="enabled", never="there is no SAML here"),
    Later("selfservice.methods.captcha", "captchas", "enabled config.*", switch="enabled"),
    Later("ciphers.algorithm", never="what is sealed is always sealed with AES-256-GCM", same=("aes",)),
    Later("hashers.algorithm", never="passwords are always hashed with Argon2id", same=("argon2",)),
    Later("hashers.bcrypt.cost", never="passwords are always hashed with Argon2id"),
    Later("hashers.argon2.expected_duration", "watching how long hashing takes"),
    Later("hashers.argon2.expected_deviation", "watching how long hashing takes"),
    Later("hashers.argon2.dedicated_memory", never="hashers.pool limits how much memory all hashes take together"),
    Later("courier.worker", keys="pull_count pull_wait", never="outbox.poll sets the pace of deliveries"),
    Later("oauth2_provider", "being the sign-in page of an OAuth2 server", "url headers.* override_return_to"),
    Later(
        "security.disallow_ref_in_identity_schemas",
        never="remote references in schemas are always refused",
        same=(True,),
    ),
    Later("clients.web_hook.header_allowlist", _UNTIL_WEB_HOOK),
    *(Later(f"feature_flags.{flag}", "a detail of Kratos' answers", same=(False,)) for flag in _FLAGS.split()),
    Later("feature_flags.cacheable_sessions_max_age", "letting others cache sessions"),
    Later("database.cleanup", "a pace of your own for removing what has expired", "batch_size sleep.tables older_than"),
    Later("organizations", "organisations", same=([],)),
    Later(
        "preview.default_read_consistency_level",
        never="every read is consistent",
        same=("strong",),
    ),
)

_AFTER_REGISTRATION: Final = "selfservice.flows.registration.after."
REGISTER_LATER: Final = tuple(
    later.where.removeprefix(_AFTER_REGISTRATION) for later in LATER if later.where.startswith(_AFTER_REGISTRATION)
)
"""The methods that will be able to register."""

# Hooks that a configuration may name and that are not run yet.
HOOKS_LATER: Final[Mapping[str, str]] = {
    "web_hook": _UNTIL_WEB_HOOK,
    "b2b_sso": "organisations",
    "organization": "organisations",
}
