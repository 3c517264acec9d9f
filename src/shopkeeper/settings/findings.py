"""Findings about settings that are valid, for the operator: used at the start and by `shopkeeper doctor`."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from shopkeeper.client import names_this_machine
from shopkeeper.notify.smtp_uri import passed_over
from shopkeeper.settings.identity_provider_findings import (
    IDENTITY_PROVIDER_CHECKS,
    IDENTITY_PROVIDER_CHECKS_EVEN_IN_DEVELOPMENT,
)
from shopkeeper.settings.known_secrets import PRINTED_DIGESTS, is_published
from shopkeeper.settings.listening import UnknownHost, address_of, is_loopback, overlap
from shopkeeper.settings.openid_findings import OPENID_CHECKS
from shopkeeper.settings.problems import Finding, Problem, SettingsError
from shopkeeper.settings.root import Settings
from shopkeeper.settings.scope_rule_findings import SCOPE_RULE_CHECKS

Check = Callable[[Settings], Iterator[Finding]]

SHORTEST_SECRET: Final = 16
CIPHER_LENGTH: Final = 32
# A secret with fewer different characters is not random: 16 random hexadecimal digits have about ten.
_VARIETY: Final = 5
_EVERY_HOST: Final = re.compile(r"[a-z][a-z0-9+.*-]*://\*?/?\*?", re.IGNORECASE)
# One `*` for whole labels, before at least two more: `https://*.example.org`, not `https://*.org`, `https://*shop.org`.
_SAFE_STAR: Final = re.compile(r"[a-z]+://\*(\.[a-z0-9-]+){2,}(:[0-9]+)?", re.IGNORECASE)
_RANDOM: Final = "openssl rand -hex"


def findings(settings: Settings) -> list[Finding]:
    """Return all findings, errors first. With `--dev`, only what cannot work at all is more than a notice."""
    found = [finding for check in CHECKS for finding in check(settings)]
    found += [*settings.remarks.others, *settings.not_in_effect()]
    if settings.dev:
        found = [replace(finding, level="notice") for finding in found]
    found += [finding for check in CHECKS_EVEN_IN_DEVELOPMENT for finding in check(settings)]
    return sorted(found, key=lambda finding: ("error", "warning", "notice").index(finding.level))


def require_startable(settings: Settings) -> None:
    """Raise `SettingsError` where a finding stops the start."""
    errors = [finding for finding in findings(settings) if finding.level == "error"]
    if errors:
        raise SettingsError([Problem(finding.path, finding.sentence) for finding in errors])


def _one_port_for_both(settings: Settings) -> Iterator[Finding]:
    """Report one port for both servers: both can listen on it, and the system then distributes requests at random."""
    public, admin = settings.serve.public, settings.serve.admin
    if public.port == admin.port and overlap(public.host, admin.host):
        sentence = (
            f"serve.admin.port is {admin.port}, the port of the public API as well; give each its own"
            " (SERVE_PUBLIC_PORT, SERVE_ADMIN_PORT)."
        )
        yield Finding("error", "serve.admin.port", sentence)


def _unknown_hosts(settings: Settings) -> Iterator[Finding]:
    for name, endpoint in (("public", settings.serve.public), ("admin", settings.serve.admin)):
        try:
            address_of(endpoint.host)
        except UnknownHost as unknown:
            yield Finding("error", f"serve.{name}.host", f"serve.{name}.host {unknown}.")


def _missing_secrets(settings: Settings) -> Iterator[Finding]:
    """Report secrets without which nothing works. The others are `secrets.default` where they are not set."""
    for name in ("default", "cipher"):
        if not getattr(settings.secrets, name):
            sentence = (
                f"secrets.{name} is not set; make one with `{_RANDOM} 16` and set it, or SECRETS_{name.upper()}_0."
            )
            yield Finding("error", f"secrets.{name}", sentence)


def _weak_secrets(settings: Settings) -> Iterator[Finding]:
    for name in ("default", "cookie", "cipher", "pagination"):
        secrets: tuple[SecretStr, ...] = getattr(settings.secrets, name)
        for index, secret in enumerate(secrets):
            fault = _fault(secret.get_secret_value())
            if fault and not (name == "cipher" and len(secret) != CIPHER_LENGTH):
                path = f"secrets.{name}[{index}]"
                yield Finding("error", path, f"{path} {fault}; make one with `{_RANDOM} 16`.")


def _ciphers_of_another_length(settings: Settings) -> Iterator[Finding]:
    """Report ciphers that cannot be keys: what is sealed with another one by `--dev` could not be opened later."""
    for index, secret in enumerate(settings.secrets.cipher):
        if len(secret) != CIPHER_LENGTH:
            path = f"secrets.cipher[{index}]"
            sentence = f"{path} must have exactly {CIPHER_LENGTH} characters; make one with `{_RANDOM} 16`."
            yield Finding("error", path, sentence)


def _fault(secret: str) -> str | None:
    if len(secret) < SHORTEST_SECRET:
        return f"has fewer than {SHORTEST_SECRET} characters"
    if len(set(secret)) < _VARIETY:
        return "repeats a few characters"
    return "looks like one from a manual, which everybody knows" if is_published(secret) else None


def _impersonation_without_a_key(settings: Settings) -> Iterator[Finding]:
    """Report impersonation that no admin key may start."""
    keyed = any("impersonate" in key.scopes for key in settings.admin.api_keys)
    if settings.impersonation.enabled and not keyed:
        sentence = "No key of admin.api_keys has the scope `impersonate`, so nobody can act for a customer; add one."
        yield Finding("warning", "impersonation.enabled", sentence)


def _flows_without_their_method(settings: Settings) -> Iterator[Finding]:
    """Report a recovery or verification that uses a method that is switched off: every request for it is refused."""
    flows, methods = settings.selfservice.flows, settings.selfservice.methods
    for name, flow in (("recovery", flows.recovery), ("verification", flows.verification)):
        if flow.enabled and not getattr(methods, flow.use).enabled:
            path = f"selfservice.flows.{name}.use"
            sentence = (
                f"{path} is {flow.use}, and selfservice.methods.{flow.use}.enabled is false: this flow is refused "
                "until one of them changes."
            )
            yield Finding("warning", path, sentence)


def _admin_without_key(settings: Settings) -> Iterator[Finding]:
    if not settings.admin.api_keys:
        sentence = f"admin.api_keys is empty; make a key with `{_RANDOM} 32` and set it, or ADMIN_API_KEYS_0."
        yield Finding("error", "admin.api_keys", sentence)


def _printed_admin_key(settings: Settings) -> Iterator[Finding]:
    for index, key in enumerate(settings.admin.api_keys):
        if key.hash in PRINTED_DIGESTS:
            path = f"admin.api_keys[{index}]"
            sentence = f"{path} looks like one from a manual, which everybody knows; make one with `{_RANDOM} 32`."
            yield Finding("error", path, sentence)


def _printed_client_secret(settings: Settings) -> Iterator[Finding]:
    for index, client in enumerate(settings.tokens.clients):
        if any(secret.hash in PRINTED_DIGESTS for secret in client.secrets):
            path = f"tokens.clients[{index}].secrets"
            sentence = f"{path} looks like one from a manual, which everybody knows; make one with `{_RANDOM} 32`."
            yield Finding("error", path, sentence)


def _refresh_without_a_first_token(settings: Settings) -> Iterator[Finding]:
    """Report clients that may use a refresh token and never get one: only token exchange gives them."""
    for index, client in enumerate(settings.tokens.clients):
        if "refresh_token" in client.grants and "token_exchange" not in client.grants:
            path = f"tokens.clients[{index}].grants"
            sentence = (
                f"{path} ({client.id}) has refresh_token without token_exchange, which alone gives refresh tokens, so"
                " that the client never gets one; add token_exchange, or leave refresh_token out."
            )
            yield Finding("warning", path, sentence)


def _printed_caller(settings: Settings) -> Iterator[Finding]:
    for index, caller in enumerate(settings.introspection.callers):
        hashes = (*(key.hash for key in caller.keys), *(value.hash for value in caller.authorization))
        if not PRINTED_DIGESTS.isdisjoint(hashes):
            path = f"introspection.callers[{index}]"
            sentence = f"{path} has a key from a manual, which everybody knows; make one with `{_RANDOM} 32`."
            yield Finding("error", path, sentence)


def _open_admin(settings: Settings) -> Iterator[Finding]:
    if settings.dev and not settings.admin.api_keys and not is_loopback(settings.serve.admin.host):
        sentence = "serve.admin.host opens an admin API without keys to the network; listen on 127.0.0.1 or set a key."
        yield Finding("notice", "serve.admin.host", sentence)


def _wildcard_origins(settings: Settings) -> Iterator[Finding]:
    cors = settings.serve.public.cors
    if not cors.enabled:
        return
    if not cors.allowed_origins:
        path = "serve.public.cors.allowed_origins"
        yield Finding("warning", path, f"{path} is empty, so CORS lets nobody in; name the origins of your shops.")
    for index, origin in enumerate(cors.allowed_origins):
        if cors.allow_credentials and (origin == "*" or _EVERY_HOST.fullmatch(origin)):
            path = f"serve.public.cors.allowed_origins[{index}]"
            yield Finding(
                "error", path, f"{path} lets every site act for your customers; name the origins of your shops."
            )
        elif "*" in origin and not _SAFE_STAR.fullmatch(origin):
            path = f"serve.public.cors.allowed_origins[{index}]"
            sentence = (
                f"{path} lets in hosts that others can have; a star stands for whole labels: https://*.example.org."
            )
            yield Finding("error", path, sentence)


def _wildcard_returns(settings: Settings) -> Iterator[Finding]:
    for index, url in enumerate(settings.selfservice.allowed_return_urls):
        if _EVERY_HOST.fullmatch(url):
            path = f"selfservice.allowed_return_urls[{index}]"
            yield Finding("error", path, f"{path} allows every host, an open redirect; name your own hosts.")


def _plain_http(settings: Settings) -> Iterator[Finding]:
    for name, url in (("public", settings.serve.public.base_url), ("admin", settings.serve.admin.base_url)):
        parts = urlsplit(url)
        if parts.scheme == "http" and not names_this_machine(parts.hostname or ""):
            path = f"serve.{name}.base_url"
            yield Finding("warning", path, f"{path} is plain http; put TLS in front and write https://.")


def _unsafe_cookies(settings: Settings) -> Iterator[Finding]:
    cookie = settings.session_cookie()
    if cookie.same_site == "None" and not cookie.secure:
        sentence = "cookies.same_site is None without Secure, which browsers drop; use https, or Lax."
        yield Finding("warning", "cookies.same_site", sentence)


def _several_workers(settings: Settings) -> Iterator[Finding]:
    if settings.http.workers == 1:
        return
    if settings.cache.in_process:
        sentence = "http.workers is more than 1 while each has a cache of its own; set cache.url to a redis:// address."
        yield Finding("error", "cache.url", sentence)
    if settings.dsn.kind == "memory":
        sentence = "http.workers is more than 1 while each worker would have a database of its own; set another dsn."
        yield Finding("error", "dsn", sentence)


def _cache_of_one_process(settings: Settings) -> Iterator[Finding]:
    """Tell that further processes, which can only be seen at the database, would not hear of this one's messages."""
    if settings.dsn.kind == "postgres" and settings.cache.in_process:
        sentence = (
            "cache.url is not set: run one server process only on this database, or set cache.url to a redis://"
            " address. Without it, another process accepts a session for up to a minute after its end, and counts"
            " attempts on its own."
        )
        yield Finding("notice", "cache.url", sentence)


def _kept_nowhere(settings: Settings) -> Iterator[Finding]:
    if settings.dsn.kind == "memory":
        sentence = "dsn is memory, so everything is gone at the stop; set a sqlite:// or postgres:// address."
        yield Finding("error", "dsn", sentence)


def _passed_over_options(settings: Settings) -> Iterator[Finding]:
    for found in settings.dsn.passed_over:
        yield Finding("notice", "dsn", f"dsn has {found.option}, which has no effect here: {found.reason}.")


def _database_certificates(settings: Settings) -> Iterator[Finding]:
    server = settings.dsn.server
    for sentence in server.tls.remarks() if server else ():
        yield Finding("warning", "dsn", sentence)


def _mails_nowhere(settings: Settings) -> Iterator[Finding]:
    by_mail_server = settings.courier.delivery_strategy == "smtp" and not settings.courier.email_channel
    if by_mail_server and settings.courier.smtp.connection_uri is None:
        path = "courier.smtp.connection_uri"
        effect = "go to the inbox page only" if settings.dev else "reach nobody"
        sentence = f"{path} is not set, so mails {effect}; set it to smtp://user:password@host:587/."
        yield Finding("error", path, sentence)


def _passed_over_mail_options(settings: Settings) -> Iterator[Finding]:
    path, uri = "courier.smtp.connection_uri", settings.courier.smtp.connection_uri
    for option in passed_over(uri.get_secret_value()) if uri is not None else ():
        sentence = f"{path} has {option}, which has no effect here: smtps:// always speaks TLS from the first byte."
        yield Finding("notice", path, sentence)


def _text_messages(settings: Settings) -> Iterator[Finding]:
    if any(channel.id == "sms" for channel in settings.courier.channels):
        path = "courier.channels"
        yield Finding("notice", path, f"{path} has sms, which has no effect: no text message is sent.")


def _weak_hashes(settings: Settings) -> Iterator[Finding]:
    argon2 = settings.hashers.argon2
    # OWASP's equal choices: less memory needs more passes.
    least = ((46, 1), (19, 2), (12, 3), (9, 4), (7, 5))
    if not any(argon2.memory >= memory * 1024**2 and argon2.iterations >= passes for memory, passes in least):
        sentence = "hashers.argon2 is weaker than OWASP's least; use 19MiB with 2 iterations or more."
        yield Finding("warning", "hashers.argon2", sentence)


def _enumeration(settings: Settings) -> Iterator[Finding]:
    if not settings.security.account_enumeration.mitigate:
        path = "security.account_enumeration.mitigate"
        yield Finding(
            "warning", path, f"{path} is off, so answers tell who has an account; leave it out to have it on."
        )


def _pending_addresses(settings: Settings) -> Iterator[Finding]:
    """Report the hook that Kratos' later releases keep a new address waiting with: here the former one has rights."""
    for index, hook in enumerate(settings.selfservice.flows.settings.after.profile.hooks):
        if hook.hook == "verify_new_address":
            path = f"selfservice.flows.settings.after.profile.hooks[{index}]"
            sentence = (
                f"{path} leads to the verification of a new address, which counts at once; the former one recovers the"
                " account until then, and can undo the change."
            )
            yield Finding("notice", path, sentence)


def _private_addresses(settings: Settings) -> Iterator[Finding]:
    if not settings.clients.http.disallow_private_ip_ranges:
        path = "clients.http.disallow_private_ip_ranges"
        sentence = (
            f"{path} is off, so configured and remote addresses may lead inside your network; list exceptions instead."
        )
        yield Finding("warning", path, sentence)


CHECKS_EVEN_IN_DEVELOPMENT: Final[Iterable[Check]] = (
    _unknown_hosts,
    _one_port_for_both,
    _ciphers_of_another_length,
    *IDENTITY_PROVIDER_CHECKS_EVEN_IN_DEVELOPMENT,
)
CHECKS: Final[Iterable[Check]] = (
    _missing_secrets,
    _weak_secrets,
    _admin_without_key,
    _printed_admin_key,
    _printed_client_secret,
    _refresh_without_a_first_token,
    _printed_caller,
    _flows_without_their_method,
    _impersonation_without_a_key,
    _open_admin,
    _wildcard_origins,
    _wildcard_returns,
    _plain_http,
    _unsafe_cookies,
    _several_workers,
    _cache_of_one_process,
    _kept_nowhere,
    _passed_over_options,
    _database_certificates,
    _mails_nowhere,
    _passed_over_mail_options,
    _text_messages,
    _weak_hashes,
    _enumeration,
    _pending_addresses,
    _private_addresses,
    *OPENID_CHECKS,
    *IDENTITY_PROVIDER_CHECKS,
    *SCOPE_RULE_CHECKS,
)
