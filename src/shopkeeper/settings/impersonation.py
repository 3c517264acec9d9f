"""Agents who act as customers and guests: `impersonation`."""

from datetime import timedelta
from typing import Annotated, Final
from uuid import UUID

from pydantic import AfterValidator, Field, model_validator

from shopkeeper.identity.group_names import readable
from shopkeeper.settings.section import Section
from shopkeeper.settings.values import Lifespan, RateText, parse_duration, parse_rate

LONGEST: Final = timedelta(hours=1)


def _short(lifespan: timedelta) -> timedelta:
    if lifespan > LONGEST:
        raise ValueError("must be an hour at most: an impersonation is short")
    return lifespan


def _group(text: str) -> str:
    if not readable(text):
        raise ValueError("must be the name of a group, of at most 256 characters, without control characters")
    return text


GroupText = Annotated[str, AfterValidator(_group)]


class Impersonation(Section):
    """Support: agents act as customers and guests for some minutes."""

    enabled: bool = Field(default=False, description="Whether agents may act as customers and guests")
    agents: tuple[UUID, ...] = Field(default=(), description="The ids of the identities that may impersonate")
    agent_groups: tuple[GroupText, ...] = Field(default=(), description="The groups of identities that may impersonate")
    protected_groups: tuple[GroupText, ...] = Field(
        default=(), description="The groups of identities that are never impersonated; agents never are"
    )
    named_agents: bool = Field(
        default=False,
        description="Whether an admin key may name an agent, instead of presenting the session of one. The "
        "impersonation then ends only by itself or when it is ended",
    )
    lifespan: Annotated[Lifespan, AfterValidator(_short)] = Field(
        default=parse_duration("20m"), description="How long an impersonation lasts; it is never extended"
    )
    limit: RateText = Field(default=parse_rate("60/hour"), description="How often one agent may start one")
    notify_customer: bool = Field(
        default=False, description="Whether the customer gets a mail when an agent begins to act for them"
    )

    @model_validator(mode="after")
    def _has_agents(self) -> "Impersonation":
        if self.enabled and not (self.agents or self.agent_groups or self.named_agents):
            raise ValueError("needs agents, agent_groups, or named_agents: nobody may impersonate otherwise")
        return self
