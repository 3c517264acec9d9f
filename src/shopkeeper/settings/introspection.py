"""`introspection`: who may ask about tokens, what they learn, and how long an answer takes and counts."""

import re
from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import AfterValidator, Field, model_validator

from shopkeeper.settings.introspection_rights import IntrospectionRights
from shopkeeper.settings.oauth_clients import OAuthClient
from shopkeeper.settings.section import SECRET, Section
from shopkeeper.settings.service_credentials import MOST_KEYS, AuthorizationValue, PublicKeys, ServiceKey
from shopkeeper.settings.values import Lifespan, parse_duration

_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+")


def _path(path: str) -> str:
    if not _PATH.fullmatch(path) or any(step in {".", ".."} for step in path.split("/")):
        raise ValueError("must be a path such as /oauth2/introspect: no slash at its end, no query")
    return path


class IntrospectionCaller(IntrospectionRights):
    """A program that may ask about tokens, such as commercetools."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        description="The caller's name: its user name with Basic, and the audience of its signed answers"
    )
    keys: Annotated[tuple[ServiceKey, ...], SECRET] = Field(
        default=(),
        max_length=MOST_KEYS,
        description="Keys that it presents as `Bearer KEY`, or as the password of its id with Basic; two while one is "
        "replaced",
    )
    authorization: Annotated[tuple[AuthorizationValue, ...], SECRET] = Field(
        default=(),
        max_length=MOST_KEYS,
        description="Whole values of its `Authorization` header, compared as they are: what commercetools is given as "
        "`authorizationHeader`",
    )
    jwks: PublicKeys = Field(
        default=None,
        description="Its public keys, a JWK set, where it authenticates by `private_key_jwt`",
    )
    stores: tuple[str, ...] = Field(
        default=(),
        description="The stores whose tokens it may ask about, all when empty; `store@tenant` names one tenant",
    )


class Introspection(Section):
    """The endpoint for introspection (RFC 7662)."""

    enabled: bool = Field(default=True, description="Whether the endpoint exists; without callers it answers 401")
    path: Annotated[str, AfterValidator(_path)] = Field(
        default="/oauth2/introspect", description="Its path on the public port; `/introspect` is another name of it"
    )
    deadline: Lifespan = Field(
        default=parse_duration("400ms"),
        le=parse_duration("30s"),
        description="How long a whole answer may take, after which it is a 503: commercetools waits for 500ms",
    )
    lifespan: Lifespan = Field(
        default=parse_duration("5m"),
        description="How far ahead `exp` is at most: the caller may use its answer until then, whatever happens to the "
        "token meanwhile",
    )
    cache: Lifespan = Field(
        default=parse_duration("1m"),
        le=parse_duration("1h"),
        description="How long the local identity of a provider's subject is remembered, while it does not change",
    )
    callers: tuple[IntrospectionCaller, ...] = Field(
        default=(),
        max_length=100,
        description="The programs that may ask, besides those of `tokens.clients` with a section `introspection`",
    )

    @model_validator(mode="after")
    def _callers_differ(self) -> "Introspection":
        ids = [caller.id for caller in self.callers]
        if len(set(ids)) < len(ids):
            raise ValueError("has two callers with the same id; give each its own")
        secrets = [
            digest
            for caller in self.callers
            for digest in (*(key.hash for key in caller.keys), *(value.hash for value in caller.authorization))
        ]
        if len(set(secrets)) < len(secrets):
            raise ValueError("has a key twice; a key belongs to one caller")
        for caller in self.callers:
            if not (caller.keys or caller.authorization or caller.jwks):
                raise ValueError(
                    f"gives the caller {caller.id} no keys, no authorization and no jwks; it could never ask"
                )
        return self


def require_different_callers(callers: Sequence[IntrospectionCaller], clients: Sequence[OAuthClient]) -> None:
    """Refuse a service that may ask as a caller and as a client, of which only one could count. Raises `ValueError`."""
    asking = [client for client in clients if client.introspection is not None]
    twice = {caller.id for caller in callers} & {client.id for client in asking}
    if twice:
        raise ValueError(f"{min(twice)!r} is a caller of introspection, and a client that may ask; keep one of them")
    keys = {key.hash for caller in callers for key in caller.keys}
    if not keys.isdisjoint(secret.hash for client in asking for secret in client.secrets):
        raise ValueError("a key of introspection.callers is a secret of tokens.clients, too; give each its own")
