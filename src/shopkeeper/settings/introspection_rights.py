"""What a service may learn by introspection: of a caller of its own, and of a client that obtains tokens, too."""

from typing import Literal

from pydantic import Field

from shopkeeper.settings.section import Section
from shopkeeper.settings.values import Lifespan


class IntrospectionRights(Section):
    """Which tokens a service may ask about, and what it learns of them."""

    providers: tuple[str, ...] = Field(
        default=(),
        description="The providers whose subjects it may ask about, all when empty; `own` is this server",
    )
    audiences: tuple[str, ...] = Field(
        default=(),
        description="Audiences of the tokens it may ask about: of providers' tokens all when empty; of own access "
        "tokens its id is always one, and no others when empty",
    )
    clients: tuple[str, ...] = Field(
        default=(),
        description="The clients whose tokens it may ask about, all when empty; a token without a client belongs to "
        "none",
    )
    subject_scopes: tuple[Literal["customer_id", "anonymous_id", "external_user_id"], ...] = Field(
        default=("customer_id", "anonymous_id", "external_user_id"),
        description="Scopes that tell commercetools who the subject is",
    )
    username: bool = Field(default=False, description="Whether it learns an address of the person, as `username`")
    lifespan: Lifespan | None = Field(
        default=None, description="As `introspection.lifespan`, for this caller; that value when unset"
    )
    signed: Literal["allowed", "always", "never"] = Field(
        default="allowed",
        description="Whether answers are signed (RFC 9701): where it asks for it in `Accept`, always, or never",
    )
