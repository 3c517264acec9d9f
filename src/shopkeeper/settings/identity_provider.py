"""What the settings say of every identity provider that a shop already has, of each kind."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from shopkeeper.settings.section import Section
from shopkeeper.settings.values import Reference

OWN: Final = "own"
_ID: Final = re.compile(r"(?!\.+$)[A-Za-z0-9._~-]{1,64}", re.ASCII)


def _provider_id(value: str) -> str:
    if not _ID.fullmatch(value):
        raise ValueError("may have letters, digits and - _ . ~ only, at most 64, because it is part of an address")
    if value == OWN:
        raise ValueError("is the name of this server's own identities; choose another one")
    return value


class Provisioning(Section):
    """Identities that are made for subjects of a provider."""

    create: bool = Field(
        default=True, description="Whether a subject that is unknown here gets an identity at the first sign-in"
    )
    schema_id: str | None = Field(
        default=None, min_length=1, description="The identity schema of such an identity; the default one when unset"
    )
    mapper_url: Reference | None = Field(
        default=None,
        description="Jsonnet that makes an identity of the provider's claims, as a `file://`, `base64://` or "
        "`https://` address; unset, [ours](providers.md#mappers)",
    )


class IdentityProviderSection(Section):
    """An identity provider that the shop already has."""

    id: Annotated[str, AfterValidator(_provider_id)] = Field(
        description="Its name here, and in stored links; keep it once customers have signed in"
    )
    stores: tuple[Annotated[str, Field(min_length=1, max_length=128)], ...] = Field(
        default=(),
        max_length=500,
        description="The stores, or `store@tenant`, that take its tokens; unset, those that name it as their "
        "`provider`, and, of kind `oidc`, those with `own`",
    )
    provisioning: Provisioning = Provisioning()
