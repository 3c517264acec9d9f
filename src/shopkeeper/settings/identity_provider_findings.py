"""Findings about the identity providers that a shop already has."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

from shopkeeper.client import names_this_machine
from shopkeeper.settings.kratos_provider import KratosProvider
from shopkeeper.settings.oidc_provider import OidcProvider
from shopkeeper.settings.problems import Finding
from shopkeeper.settings.root import Settings

_ADDRESSES: Final = ("issuer", "jwks_url", "introspection_url")


def _plain_http(settings: Settings) -> Iterator[Finding]:
    """Report plain HTTP addresses: others on the network could answer in the provider's place."""
    for path, provider in _of_kind_oidc(settings):
        given = {name: getattr(provider, name) for name in _ADDRESSES}
        given["password_grant.token_url"] = provider.password_grant.token_url
        for name, address in given.items():
            parts = urlsplit(address or "")
            if parts.scheme == "http" and not names_this_machine(parts.hostname or ""):
                sentence = (
                    f"{path}.{name} ({provider.id}) is plain http, so that anybody on the way could be any customer;"
                    " write https://."
                )
                yield Finding("error", f"{path}.{name}", sentence)


def _unknown_audience(settings: Settings) -> Iterator[Finding]:
    """Report tokens whose audience cannot be known."""
    for path, provider in _of_kind_oidc(settings):
        if provider.opaque_tokens == "userinfo":
            sentence = (
                f"{path}.opaque_tokens ({provider.id}) is userinfo, which cannot tell for whom a token was made: every"
                " application of the provider can act as its users here; write introspection where the provider has it."
            )
            yield Finding("warning", f"{path}.opaque_tokens", sentence)


def _passwords_elsewhere(settings: Settings) -> Iterator[Finding]:
    """Report the password grant, which RFC 9700 says must not be used."""
    for path, provider in _of_kind_oidc(settings):
        if provider.password_grant.enabled:
            sentence = (
                f"{path}.password_grant ({provider.id}) is on: passwords of the provider pass through this server, and"
                " accounts with a second factor cannot sign in (RFC 9700 section 2.4); let browsers sign in there with"
                " sign_in: true."
            )
            yield Finding("warning", f"{path}.password_grant.enabled", sentence)


def _this_server(settings: Settings) -> Iterator[Finding]:
    """Report providers that are this server itself: it would ask itself, without end."""
    own = {_place(settings.serve.public.base_url), _place(settings.serve.admin.base_url)}
    for index, provider in enumerate(settings.providers):
        if provider.address is not None and _place(provider.address) in own:
            name = "public_url" if isinstance(provider, KratosProvider) else "issuer"
            path = f"providers[{index}].{name}"
            sentence = (
                f"{path} ({provider.id}) is the address of this server itself; write the other server's, or leave the"
                " provider out: stores without one have their customers here."
            )
            yield Finding("error", path, sentence)


def _place(address: str) -> tuple[str, int | None, str]:
    """Return what tells servers apart: all names of this machine are one."""
    parts = urlsplit(address)
    host = (parts.hostname or "").lower()
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return "localhost" if names_this_machine(host) else host, port, parts.path.rstrip("/")


def _of_kind_oidc(settings: Settings) -> Iterator[tuple[str, OidcProvider]]:
    for index, provider in enumerate(settings.providers):
        if isinstance(provider, OidcProvider):
            yield f"providers[{index}]", provider


IDENTITY_PROVIDER_CHECKS: Final[Sequence[Callable[[Settings], Iterator[Finding]]]] = (
    _plain_http,
    _unknown_audience,
    _passwords_elsewhere,
)
IDENTITY_PROVIDER_CHECKS_EVEN_IN_DEVELOPMENT: Final[Sequence[Callable[[Settings], Iterator[Finding]]]] = (_this_server,)
