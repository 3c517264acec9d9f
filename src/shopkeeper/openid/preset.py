"""What is known of a provider before it is configured, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from shopkeeper.openid.provider import Endpoints, ProviderFacts

ISSUER: Final = "{issuer}"
OPENID: Final = "openid"
_TO_BE_DISCOVERED: Final = Endpoints()


@dataclass(frozen=True, slots=True)
class Preset(ProviderFacts):
    """A kind of provider, by the name that `provider` has in the settings.

    Args:
        label: its name on buttons.
        issuer: None where the settings must name it.
        configurable_issuer: whether the settings may name another one: a server of one's own.
        issuer_slash: whether its issuer ends with a slash, also where the settings leave it out.
        openid: whether it speaks OpenID Connect. Otherwise it is OAuth 2 with a userinfo endpoint, its issuer is only a
            name, and it is never asked for the scope `openid`.
        endpoints: those that discovery does not tell; `{issuer}` in them stands for the issuer without its last slash.
        scope: what is asked for where the settings say nothing.
        required_scope: what is asked for in any case.
        scope_parameters: scopes that this provider knows as parameters of the authorization request.
        refused_scopes: beginnings of scopes that it does not take any more, each with what to do.
        verifies_email: whether it says which addresses it has verified; for the documentation.
        unsupported: why it cannot be used; empty for those that can.

    The other fields are those of `ProviderFacts`. `reauthenticates` is true only where the provider's manual says so.
    """

    label: str
    issuer: str | None = None
    configurable_issuer: bool = True
    issuer_slash: bool = False
    openid: bool = True
    endpoints: Endpoints = _TO_BE_DISCOVERED
    scope: tuple[str, ...] = (OPENID, "email", "profile")
    required_scope: tuple[str, ...] = (OPENID,)
    scope_parameters: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    refused_scopes: Mapping[str, str] = field(default_factory=dict)
    verifies_email: bool = False
    unsupported: str = ""

    def endpoints_of(self, issuer: str) -> Endpoints:
        """Return the endpoints of a provider with this issuer."""
        base = issuer.rstrip("/")
        named = {name: getattr(self.endpoints, name) for name in Endpoints.__dataclass_fields__}
        return Endpoints(**{name: url.replace(ISSUER, base) if url else None for name, url in named.items()})
