"""Sessions as JSON Web Tokens: `session.whoami.tokenizer`."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from shopkeeper.settings.section import Section
from shopkeeper.settings.values import Lifespan, Reference, parse_duration

_LONGEST: Final = timedelta(days=1)


def _short(ttl: timedelta) -> timedelta:
    if ttl > _LONGEST:
        raise ValueError("must be at most 24h: such a token cannot be ended before it expires")
    return ttl


class TokenTemplate(Section):
    """A kind of JSON Web Token that a session can be turned into."""

    ttl: Annotated[Lifespan, AfterValidator(_short)] = Field(
        default=parse_duration("1m"), description="How long a token is valid; never longer than its session"
    )
    jwks_url: Reference = Field(
        description="The JSON Web Key Set with the private key that signs, as a `file://`, `base64://` or `https://` "
        "address; the first private key counts"
    )
    claims_mapper_url: Reference | None = Field(
        default=None, description="Jsonnet that adds claims, as an address like `jwks_url`"
    )
    subject_source: Literal["id", "external_id"] = Field(
        default="id", description="The claim `sub`: the identity's id, or its `external_id`"
    )


TemplateName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class Tokenizer(Section):
    """Sessions as JSON Web Tokens."""

    templates: Mapping[TemplateName, TokenTemplate] = Field(
        default={}, max_length=50, description="The kinds of tokens, by the name that `tokenize_as` has"
    )
