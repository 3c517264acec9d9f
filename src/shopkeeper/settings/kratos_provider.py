"""Providers of kind `kratos`: an Ory Kratos, a project of the Ory Network, or another Shopkeeper."""

import re
from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from shopkeeper.crypto import OWN_PREFIX
from shopkeeper.settings.identity_provider import IdentityProviderSection
from shopkeeper.settings.section import Section
from shopkeeper.settings.values import BaseUrl, Duration, Lifespan, PageUrl

_COOKIE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\*?", re.ASCII)
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)
OF_SHOPKEEPER: Final = "shk_st_"
"""What the session tokens of another Shopkeeper begin with, as our own do."""
_PATH: Final = re.compile(r"(traits|metadata_public)(\.[A-Za-z0-9_-]{1,64}){1,8}", re.ASCII)


def _cookie(value: str) -> str:
    if not _COOKIE.fullmatch(value):
        raise ValueError("is the name of a cookie; a star may stand at its end, as in ory_session_*")
    return value


def _prefix(value: str) -> str:
    if not _PREFIX.fullmatch(value):
        raise ValueError("has letters, digits, hyphens and underscores, at most 32")
    if value != OF_SHOPKEEPER and (OWN_PREFIX.startswith(value) or value.startswith(OWN_PREFIX)):
        raise ValueError(f"would have further tokens of this server sent to the other one; write {OF_SHOPKEEPER}")
    return value


def _path(value: str) -> str:
    if not _PATH.fullmatch(value):
        raise ValueError("leads into traits or metadata_public, such as metadata_public.groups")
    return value


class SessionServerPages(Section):
    """Where the pages of the flows are, in place of the addresses that the session server sends browsers to."""

    login: PageUrl | None = Field(default=None, description="The page for signing in")
    registration: PageUrl | None = Field(default=None, description="The page for registering")
    recovery: PageUrl | None = Field(default=None, description="The page for recovering an account")
    verification: PageUrl | None = Field(default=None, description="The page for verifying an address")
    settings: PageUrl | None = Field(default=None, description="The page for changing an account")


class KratosProvider(IdentityProviderSection):
    """A server with Kratos' API that proves the identities of stores, and keeps their sessions."""

    kind: Literal["kratos"] = Field(
        description="What it is: `oidc` for any OpenID provider, `kratos` for a server with Kratos' API"
    )
    public_url: BaseUrl = Field(
        description="The address of its public API, exactly as it writes it into its forms; it is the issuer of its"
        " identities, so keep it, too"
    )
    cookie: Annotated[str, AfterValidator(_cookie)] = Field(
        default="ory_kratos_session",
        description="The name of its session cookie; `ory_session_*` for a project of the Ory Network",
    )
    token_prefix: Annotated[str, AfterValidator(_prefix)] = Field(
        default="ory_st_", description="What its session tokens begin with"
    )
    self_service: Literal["redirect", "proxy", "off"] = Field(
        default="redirect",
        description="What the paths of self-service do for its stores: send browsers there, pass requests on, or"
        " neither",
    )
    ui: SessionServerPages = SessionServerPages()
    required_aal: Literal["aal1", "aal2"] = Field(
        default="aal1", description="The least assurance of its sessions that counts here"
    )
    cache_for: Duration = Field(
        default=timedelta(seconds=10),
        le=timedelta(minutes=5),
        description="How long an answer about a session is kept at most, and so how late its end is noticed; `0s` asks"
        " for every request",
    )
    deadline: Lifespan = Field(
        default=timedelta(seconds=3),
        le=timedelta(seconds=30),
        description="How long it may take to answer; after that, requests are refused with 503",
    )
    groups_from: tuple[Annotated[str, AfterValidator(_path)], ...] = Field(
        default=(),
        max_length=10,
        description="Where an identity's groups are: paths of texts or lists, such as `metadata_public.groups`",
    )

    @property
    def address(self) -> str | None:
        """Where the server is."""
        return self.public_url

    @property
    def issuer(self) -> str:
        """The issuer of its identities: its public address without a slash at the end."""
        return self.public_url.rstrip("/")
