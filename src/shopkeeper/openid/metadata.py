"""What a provider says of itself (OpenID Connect Discovery 1.0)."""

from datetime import timedelta
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import msgspec

from shopkeeper.clock import Clock
from shopkeeper.openid.calls import ProviderCalls, parse_object
from shopkeeper.openid.errors import ProviderAnswerInvalid, ProviderError
from shopkeeper.openid.provider import Endpoints, Provider
from shopkeeper.openid.renewal import FLOOR, RenewedFromProvider

FRESH: Final = timedelta(hours=1)
USABLE: Final = timedelta(days=1)
LONGEST_ADDRESS: Final = 2048
LONGEST_SHOWN: Final = 200
"""Characters of another issuer that the log has."""
_WELL_KNOWN: Final = "/.well-known/openid-configuration"


class Metadata(msgspec.Struct, frozen=True):
    """The members of the document that we use (Discovery 1.0 section 3, RFC 8414, RFC 9207 section 3)."""

    issuer: str | None = None
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    userinfo_endpoint: str | None = None
    jwks_uri: str | None = None
    end_session_endpoint: str | None = None
    introspection_endpoint: str | None = None
    code_challenge_methods_supported: tuple[str, ...] | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] | None = None
    authorization_response_iss_parameter_supported: bool | None = None

    @property
    def endpoints(self) -> Endpoints:
        """The addresses that the document names."""
        return Endpoints(
            authorization=self.authorization_endpoint,
            token=self.token_endpoint,
            userinfo=self.userinfo_endpoint,
            jwks=self.jwks_uri,
            end_session=self.end_session_endpoint,
            introspection=self.introspection_endpoint,
        )


class MetadataSource:
    """The metadata of one provider: read when needed, kept for an hour, and for a day while the provider is away."""

    def __init__(self, provider: Provider, calls: ProviderCalls, clock: Clock) -> None:
        self._provider, self._calls = provider, calls
        self._metadata = RenewedFromProvider(self._read, clock=clock, fresh=FRESH, usable=USABLE)

    @property
    def url(self) -> str:
        """Where the document is."""
        return self._provider.issuer.rstrip("/") + _WELL_KNOWN

    async def get(self, *, for_token: bool = False) -> Metadata:
        """Return the metadata; what the settings say wins over what the provider says.

        Args:
            for_token: they are needed for a token that anybody may have written, which causes one reading in each
                `FLOOR` while they cannot be read.

        Raises:
            ProviderUnavailable: it could not be read.
            ProviderAnswerInvalid: it is another issuer's, or no such document.
        """
        floor = FLOOR if for_token else timedelta(0)
        return self._with_ours(await self._metadata.get(floor=floor) if self._provider.discovers else Metadata())

    async def get_for(self, *needed: str, authenticated: bool = False) -> Metadata:
        """Return what calls of some endpoints need, for a token that anybody may have written. Where the settings name
        them all, the provider's metadata need not be there.

        Args:
            needed: the endpoints, by their names in `Endpoints`.
            authenticated: whether our id and secret are sent there. Metadata say how then, so they are read where they
                can be.

        Raises as `get` does.
        """
        named = all(getattr(self._provider.endpoints, name) is not None for name in needed)
        if named and not authenticated:
            return self._with_ours(Metadata())
        try:
            return await self.get(for_token=True)
        except ProviderError:
            if not named:
                raise
            return self._with_ours(Metadata())

    def _with_ours(self, found: Metadata) -> Metadata:
        ours = self._provider.endpoints
        return msgspec.structs.replace(
            found,
            authorization_endpoint=ours.authorization or found.authorization_endpoint,
            token_endpoint=ours.token or found.token_endpoint,
            userinfo_endpoint=ours.userinfo or found.userinfo_endpoint,
            jwks_uri=ours.jwks or found.jwks_uri,
            end_session_endpoint=ours.end_session or found.end_session_endpoint,
            introspection_endpoint=ours.introspection or found.introspection_endpoint,
        )

    async def _read(self) -> Metadata:
        url = self.url
        response = await self._calls.send("GET", url)
        if response.status != HTTPStatus.OK:
            raise ProviderAnswerInvalid(
                f"The provider has no metadata at {url}: it answered with {response.status}.", cause="no_metadata"
            )
        return parse_metadata(response.body, provider=self._provider)


def parse_metadata(body: bytes, *, provider: Provider) -> Metadata:
    """Parse and check a document. Raises `ProviderAnswerInvalid`."""
    document = parse_object(body, what="The provider's metadata")
    try:
        metadata = msgspec.convert(document, Metadata)
    except msgspec.ValidationError as wrong:
        raise ProviderAnswerInvalid(f"The provider's metadata is not valid: {wrong}.", cause="metadata") from wrong
    # Another issuer's document would let that one speak for this one's users (Discovery 1.0 section 4.3).
    if metadata.issuer is None or not provider.is_known_as(metadata.issuer):
        named = repr(metadata.issuer[:LONGEST_SHOWN]) if metadata.issuer is not None else "none"
        raise ProviderAnswerInvalid(
            f"The provider's metadata names another issuer than the configured {provider.issuer}, {named}: "
            "the setting must be spelled exactly as the provider does.",
            cause="metadata_issuer",
        )
    _require_safe(metadata.endpoints, plain_allowed=urlsplit(provider.issuer).scheme == "http")
    return metadata


def _require_safe(endpoints: Endpoints, *, plain_allowed: bool) -> None:
    for name in Endpoints.__slots__:
        address = getattr(endpoints, name)
        if address is not None and not is_endpoint(address, plain_allowed=plain_allowed):
            raise ProviderAnswerInvalid(
                f"The provider's metadata has no https address for '{name}'.", cause="metadata_endpoint"
            )


def is_endpoint(address: str, *, plain_allowed: bool) -> bool:
    """Return whether a text is an address that may be an endpoint: https (or http where allowed), without fragment.

    >>> is_endpoint("https://idp.example/token", plain_allowed=False)
    True
    >>> is_endpoint("http://idp.example/token", plain_allowed=False)
    False
    """
    if len(address) > LONGEST_ADDRESS or not address.isascii() or not address.isprintable() or " " in address:
        return False
    try:
        parts = urlsplit(address)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return False
    schemes = {"https", "http"} if plain_allowed else {"https"}
    return parts.scheme in schemes and bool(host) and "@" not in parts.netloc and "#" not in address
