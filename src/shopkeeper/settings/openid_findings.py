"""Findings about the providers of social sign-in."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

from shopkeeper.client import is_private_address, names_this_machine
from shopkeeper.settings.oidc_provider import OidcProvider
from shopkeeper.settings.openid_providers import OpenIDProvider
from shopkeeper.settings.problems import Finding
from shopkeeper.settings.root import Settings

PLACE: Final = "selfservice.methods.oidc.config.providers"
_ADDRESSES: Final = ("issuer_url", "auth_url", "token_url")
_CALLED: Final = ("issuer_url", "token_url")
"""The addresses that this server calls; the browser opens `auth_url`."""
_MAIL: Final = "email"
_AFTER: Final = "selfservice.flows.registration.after"


def _no_providers(settings: Settings) -> Iterator[Finding]:
    """Report social sign-in that is enabled without a provider."""
    oidc = settings.selfservice.methods.oidc
    if oidc.enabled and not oidc.config.providers:
        sentence = f"{PLACE} is empty, so there is no social sign-in; add a provider, or switch the method off."
        yield Finding("warning", PLACE, sentence)


def _plain_http(settings: Settings) -> Iterator[Finding]:
    """Report plain HTTP addresses: others on the network could answer in the provider's place."""
    for path, provider in _enabled(settings):
        for name in _ADDRESSES:
            parts = urlsplit(getattr(provider, name) or "")
            if parts.scheme == "http" and not names_this_machine(parts.hostname or ""):
                sentence = (
                    f"{path}.{name} ({provider.id}) is plain http, so that anybody on the way could sign in as"
                    " anybody; write https://."
                )
                yield Finding("error", f"{path}.{name}", sentence)


def _not_called(settings: Settings) -> Iterator[Finding]:
    """Report providers that the guard of outgoing requests will not let us call, as far as their addresses tell without
    asking for names. `--dev` lets us call those of this machine."""
    http = settings.clients.http
    if not http.disallow_private_ip_ranges:
        return
    for path, provider in _enabled(settings):
        issuer = urlsplit(provider.issuer_url or "")
        of_development = settings.dev and names_this_machine(issuer.hostname or "")
        allowed = (*http.private_ip_exception_urls, *([issuer.netloc] if of_development else []))
        for name in _CALLED:
            parts = urlsplit(getattr(provider, name) or "")
            where = _private_place(parts.hostname or "")
            if where is not None and not any(parts.netloc in pattern for pattern in allowed):
                sentence = (
                    f"{path}.{name} ({provider.id}) is {where}, which is not called; list"
                    f" {parts.scheme}://{parts.netloc}/** in clients.http.private_ip_exception_urls."
                )
                yield Finding("warning", f"{path}.{name}", sentence)


def _private_place(host: str) -> str | None:
    if names_this_machine(host):
        return "on this machine"
    return "in a private network" if is_private_address(host) else None


def _no_address(settings: Settings) -> Iterator[Finding]:
    """Report scopes without the one that the provider gives the mail address for."""
    for path, provider in _enabled(settings):
        usual = [scope for scope in provider.preset.scope if _MAIL in scope]
        if usual and provider.scope and not any(_MAIL in scope for scope in provider.scope):
            sentence = (
                f"{path}.scope ({provider.id}) does not ask for the mail address; add {usual[0]}, or customers have"
                " to type theirs."
            )
            yield Finding("warning", f"{path}.scope", sentence)


def _without_effect(settings: Settings) -> Iterator[Finding]:
    """Report settings that this provider gives no effect."""
    for path, provider in _enabled(settings):
        for key, reason in _idle(provider):
            yield Finding("notice", f"{path}.{key}", f"{path}.{key} ({provider.id}) has no effect here: {reason}.")


def _idle(provider: OpenIDProvider) -> Iterator[tuple[str, str]]:
    preset = provider.preset
    if provider.issuer_url and not preset.configurable_issuer and provider.issuer_url != preset.issuer:
        yield "issuer_url", f"{preset.label} has one issuer"
    if provider.account_linking_mode == "automatic" and not preset.verifies_email:
        yield "account_linking_mode", f"{preset.label} does not say which addresses it has verified"
    if provider.silent_sign_on and not preset.openid:
        yield "silent_sign_on", f"{preset.label} speaks no OpenID Connect"
    if provider.rp_initiated_logout and not preset.openid:
        yield "rp_initiated_logout", f"{preset.label} speaks no OpenID Connect"


def _signs_nobody_in(settings: Settings) -> Iterator[Finding]:
    """Report a registration after which a customer, who has just signed in at the provider, is not signed in here."""
    registration = settings.selfservice.flows.registration
    if not (settings.selfservice.methods.oidc.providers and registration.enabled):
        return
    if not any(hook.hook == "session" for hook in registration.after.hooks_of("oidc")):
        path = f"{_AFTER}.oidc.hooks"
        sentence = (
            f"{path} has no hook session, so a customer who registers with a provider has to sign in afterwards; add it"
            " to sign them in at once."
        )
        yield Finding("notice", path, sentence)


def redirect_uris(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the address to register at each provider, after the provider's name.

    >>> from shopkeeper.settings import load
    >>> environ = {
    ...     "SELFSERVICE_METHODS_OIDC_ENABLED": "true",
    ...     "SELFSERVICE_METHODS_OIDC_CONFIG_PROVIDERS":
    ...         '[{"id": "g", "provider": "google", "client_id": "c", "client_secret": "s"}]',
    ... }
    >>> list(redirect_uris(load([], environ, dev=True, demo=False)))
    [('Google (g)', 'http://127.0.0.1:4433/self-service/methods/oidc/callback/g')]
    """
    oidc = settings.selfservice.methods.oidc
    base = (oidc.config.base_redirect_uri or settings.serve.public.base_url).rstrip("/")
    for _, provider in _enabled(settings):
        yield (
            _name(provider),
            f"{base}/self-service/methods/oidc/callback/{provider.id}",
        )
    for own in settings.providers:
        if isinstance(own, OidcProvider) and own.sign_in:
            yield own.label or own.id, f"{base}/self-service/methods/oidc/callback/{own.id}"


def logout_uris(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Yield the addresses of sign-outs to register at each provider with OpenID Connect: the provider's name, what the
    address is for, and the address. The first is needed only where a sign-out leads there."""
    oidc = settings.selfservice.methods.oidc
    base = (oidc.config.base_redirect_uri or settings.serve.public.base_url).rstrip("/")
    for _, provider in _enabled(settings):
        name = _name(provider)
        if provider.rp_initiated_logout:
            yield name, "post-logout redirect URI", f"{base}/self-service/methods/oidc/logout/callback"
        if provider.preset.openid:
            yield (
                name,
                "back-channel logout URI",
                f"{base}/self-service/methods/oidc/backchannel-logout/{provider.id}",
            )


def _name(provider: OpenIDProvider) -> str:
    name = provider.label or ("" if provider.provider == "generic" else provider.preset.label)
    return f"{name} ({provider.id})" if name else provider.id


def _enabled(settings: Settings) -> Iterator[tuple[str, OpenIDProvider]]:
    """Yield the providers that are switched on, each with its place."""
    for index, provider in enumerate(settings.selfservice.methods.oidc.providers):
        yield f"{PLACE}[{index}]", provider


OPENID_CHECKS: Final[Sequence[Callable[[Settings], Iterator[Finding]]]] = (
    _no_providers,
    _plain_http,
    _not_called,
    _no_address,
    _without_effect,
    _signs_nobody_in,
)
