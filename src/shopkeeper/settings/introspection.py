"""`introspection`: who may ask about tokens, what they learn, and how long an answer takes and counts."""

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from shopkeeper.settings.known_secrets import PRINTED, is_published
from shopkeeper.settings.oauth_clients import key_set_of, public_keys_only
from shopkeeper.settings.section import SECRET, TRIMMED, Section, without_line_break
from shopkeeper.settings.serving import SHORTEST_KEY, hex_digest, key_digest, of_something
from shopkeeper.settings.values import Lifespan, parse_duration

_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7E]([\x20-\x7E]*[\x21-\x7E])?")
HexDigest = Annotated[str, TRIMMED, AfterValidator(hex_digest), AfterValidator(of_something)]


def _path(path: str) -> str:
    if not _PATH.fullmatch(path) or any(step in {".", ".."} for step in path.split("/")):
        raise ValueError("must be a path such as /oauth2/introspect: no slash at its end, no query")
    return path


class CallerKey(Section):
    """A key of a caller: stored as its SHA-256. The key itself is never stored."""

    hash: HexDigest = Field(repr=False, description="SHA-256 of the key, in hex, instead of the key itself")

    @model_validator(mode="before")
    @classmethod
    def _from_plain(cls, value: Any) -> Any:
        value = without_line_break(value)
        if isinstance(value, str):
            return {"hash": key_digest(value)}
        if not isinstance(value, CallerKey | Mapping):
            raise ValueError("must be a key of at least 32 characters, or the key's SHA-256 in `hash`")
        return value


class AuthorizationValue(Section):
    """A value of the `Authorization` header: stored as its SHA-256."""

    hash: HexDigest = Field(repr=False, description="SHA-256 of the whole value, in hex, instead of the value itself")

    @model_validator(mode="before")
    @classmethod
    def _from_plain(cls, value: Any) -> Any:
        value = without_line_break(value)
        if isinstance(value, str):
            return {"hash": _digest_of_header(value)}
        if not isinstance(value, AuthorizationValue | Mapping):
            raise ValueError("must be a value of the Authorization header, or its SHA-256 in `hash`")
        return value


def _digest_of_header(value: str) -> str:
    if len(value) < SHORTEST_KEY or len(set(value)) < 6:
        raise ValueError(f"must have at least {SHORTEST_KEY} characters, such as `Bearer` and a key of openssl rand")
    if not _HEADER_VALUE.fullmatch(value):
        raise ValueError("has characters that no header carries, or a blank at its beginning or end")
    if value not in PRINTED and is_published(value):  # our own are accepted here, and reported by `findings`
        raise ValueError("looks like one from a manual, which everybody knows; make a key with: openssl rand -hex 32")
    return hashlib.sha256(value.encode()).hexdigest()


class IntrospectionCaller(Section):
    """A program that may ask about tokens, such as commercetools."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        description="The caller's name: its user name with Basic, and the audience of its signed answers"
    )
    keys: Annotated[tuple[CallerKey, ...], SECRET] = Field(
        default=(),
        max_length=8,
        description="Keys that it presents as `Bearer KEY`, or as the password of its id with Basic; two while one is "
        "replaced",
    )
    authorization: Annotated[tuple[AuthorizationValue, ...], SECRET] = Field(
        default=(),
        max_length=8,
        description="Whole values of its `Authorization` header, compared as they are: what commercetools is given as "
        "`authorizationHeader`",
    )
    jwks: Annotated[Mapping[str, Any] | None, AfterValidator(lambda keys: keys and public_keys_only(keys))] = Field(
        default=None,
        description="Its public keys, a JWK set, where it authenticates by `private_key_jwt`",
    )
    stores: tuple[str, ...] = Field(
        default=(),
        description="The stores whose tokens it may ask about, all when empty; `store@tenant` names one tenant",
    )
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

    @model_validator(mode="before")
    @classmethod
    def _key_set_of_text(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or "jwks" not in value:
            return value
        return {**value, "jwks": key_set_of(value["jwks"])}


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
        default=(), max_length=100, description="The programs that may ask"
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
