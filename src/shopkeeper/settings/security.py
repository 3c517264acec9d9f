"""Settings of personal data and its protection: `identity`, `secrets`, `hashers`, `session`, `cookies`, …"""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from shopkeeper.settings.section import Secret, Section
from shopkeeper.settings.session_tokenizer import Tokenizer
from shopkeeper.settings.values import Lifespan, Size, format_size, parse_duration, parse_size

SameSite = Literal["Strict", "Lax", "None"]
MOST_WORK: Final = parse_size("2GiB")
"""Memory times iterations of one hash. More would exhaust our own resources, so it is refused in stored hashes too."""
CUSTOMER_SCHEMA: Final = "builtin://customer"
_OWN_SCHEMA: Final = Path(__file__).resolve().parents[1] / "identity" / "default.schema.json"
_SCHEMA_URL: Final = re.compile(r"(file|base64|https?)://\S+|builtin://customer", re.ASCII)
_COOKIE_NAME: Final = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"
_COOKIE_DOMAIN: Final = r"^\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$"


def _schema_url(url: str) -> str:
    if not _SCHEMA_URL.fullmatch(url):
        raise ValueError("must be a file://, base64:// or https:// address, or builtin://customer")
    return url


def _idle(lifespan: timedelta) -> timedelta:
    if lifespan < timedelta(minutes=1):
        raise ValueError("must be at least one minute: uses of sessions are not written down more often")
    return lifespan


IdleLifespan = Annotated[Lifespan, AfterValidator(_idle)]


class IdentitySchema(Section):
    """A JSON Schema for the traits of a kind of identity."""

    # The length of the column of flows that stores it.
    id: str = Field(min_length=1, max_length=128, description="The schema's name, stored with each identity")
    url: Annotated[str, AfterValidator(_schema_url)] = Field(
        description="Where the schema is: `file://`, `base64://`, `https://`, or `builtin://customer` for ours"
    )
    selfservice_selectable: bool = Field(
        default=False,
        description="Whether visitors may choose it at sign-up, by `identity_schema`; the default one they always may",
    )

    @property
    def location(self) -> str:
        """The address to read the schema from: our own is a file of this package."""
        return _OWN_SCHEMA.as_uri() if self.url == CUSTOMER_SCHEMA else self.url


class Identity(Section):
    """Kinds of identities."""

    default_schema_id: str = Field(default="default", description="The schema of self-service sign-ups")
    schemas: tuple[IdentitySchema, ...] = Field(
        default=(IdentitySchema(id="default", url=CUSTOMER_SCHEMA),),
        min_length=1,
        description="The schemas; without any, `default` is our own customer schema",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Identity":
        ids = [schema.id for schema in self.schemas]
        if len(set(ids)) < len(ids):
            raise ValueError("has two schemas with the same id; give each its own")
        if self.default_schema_id not in ids:
            raise ValueError("has a default_schema_id that is not among its schemas; add that schema or name another")
        return self


class Secrets(Section):
    """Secrets: the first signs and encrypts, all verify and decrypt, so put a new one in front."""

    default: tuple[Secret, ...] = Field(
        default=(), description="For what has no secret of its own; at least 16 characters each"
    )
    cookie: tuple[Secret, ...] = Field(default=(), description="For cookies; `secrets.default` when unset")
    cipher: tuple[Secret, ...] = Field(
        default=(), description="For what is stored or handed out sealed; 32 characters each"
    )
    pagination: tuple[Secret, ...] = Field(default=(), description="For page tokens; `secrets.default` when unset")

    def for_cookies(self) -> tuple[str, ...]:
        """The cookie secrets, newest first."""
        return _texts(self.cookie or self.default)

    def for_sealing(self) -> tuple[str, ...]:
        """The cipher secrets, newest first."""
        return _texts(self.cipher)

    def for_pages(self) -> tuple[str, ...]:
        """The secrets of page tokens, newest first."""
        return _texts(self.pagination or self.default)

    def for_all_else(self) -> tuple[str, ...]:
        """The default secrets, newest first."""
        return _texts(self.default)


def _texts(secrets: tuple[SecretStr, ...]) -> tuple[str, ...]:
    return tuple(secret.get_secret_value() for secret in secrets)


class Argon2(Section):
    """Parameters of Argon2id (RFC 9106). The defaults are OWASP's minimum."""

    memory: Size = Field(
        default=parse_size("19MiB"), ge=8 * 1024, le=parse_size("512MiB"), description="Memory for one hash"
    )
    iterations: int = Field(default=2, ge=1, le=64, description="Passes over it")
    parallelism: int = Field(default=1, ge=1, le=64, description="Lanes")
    salt_length: int = Field(default=16, ge=16, le=64, description="Bytes of salt")
    key_length: int = Field(default=32, ge=16, le=64, description="Bytes of hash")

    @property
    def memory_kib(self) -> int:
        """The memory in KiB, Argon2's unit."""
        return self.memory // 1024

    @model_validator(mode="after")
    def _enough(self) -> "Argon2":
        if self.memory_kib < 8 * self.parallelism:
            raise ValueError("needs at least 8 KiB of memory for each lane; raise memory or lower parallelism")
        if self.memory * self.iterations > MOST_WORK:
            raise ValueError(
                f"comes to more than {format_size(MOST_WORK)} of memory times iterations; lower one of them"
            )
        return self


class HashingPool(Section):
    """The threads that hash passwords."""

    workers: int | None = Field(
        default=None, ge=1, le=1024, description="Threads for hashing; as many as cores when unset"
    )
    queue: int = Field(default=64, ge=0, description="Hashes that may wait; one more is told to come back (503)")


class Hashers(Section):
    """How passwords are hashed."""

    argon2: Argon2 = Argon2()
    pool: HashingPool = HashingPool()


class SessionCookie(Section):
    """The session's cookie."""

    name: str = Field(default="ory_kratos_session", pattern=_COOKIE_NAME, description="Name of the session cookie")
    domain: str | None = Field(default=None, pattern=_COOKIE_DOMAIN, description="Overrides `cookies.domain`")
    path: str | None = Field(default=None, pattern=r"^/[^;\s]*$", description="Overrides `cookies.path`")
    same_site: SameSite | None = Field(default=None, description="Overrides `cookies.same_site`")
    secure: bool | None = Field(default=None, description="Overrides `cookies.secure`")
    persistent: bool = Field(default=True, description="Whether the cookie outlives the browser window")


class Whoami(Section):
    """Settings of `/sessions/whoami`."""

    required_aal: Literal["aal1", "highest_available"] = Field(
        default="highest_available",
        description="The level whoami asks of a session: `aal1`, or the highest that its identity has a factor for",
    )
    tokenizer: Tokenizer = Tokenizer()


class KeepSignedIn(Section):
    """The choice "keep me signed in" on the forms that sign in and register."""

    enabled: bool = Field(
        default=False,
        description="Whether the forms have the checkbox `keep_signed_in`; unchecked, the cookie ends with "
        "the browser window",
    )
    lifespan: Lifespan = Field(
        default=parse_duration("30d"), description="How long a session lives whose customer chose to be kept signed in"
    )


class Session(Section):
    """Sessions."""

    lifespan: Lifespan = Field(default=parse_duration("24h"), description="How long a session lives")
    earliest_possible_extend: Lifespan | None = Field(
        default=None, description="Extend a session only when it has less than this left; at any time when unset"
    )
    absolute_lifespan: Lifespan | None = Field(
        default=None,
        description="A session ends this long after signing in, however often it is extended or refreshed",
    )
    idle_lifespan: IdleLifespan | None = Field(
        default=None,
        description="A session ends when it was not used for this long, at least one minute; unset, only its lifespan "
        "ends it",
    )
    max_per_identity: int | None = Field(
        default=100, ge=1, le=10_000, description="Sessions of one customer; one more ends the oldest"
    )
    keep_signed_in: KeepSignedIn = KeepSignedIn()
    cookie: SessionCookie = SessionCookie()
    whoami: Whoami = Whoami()


class Cookies(Section):
    """All cookies."""

    domain: str | None = Field(
        default=None, pattern=_COOKIE_DOMAIN, description="Domain of the cookies; the exact host when unset"
    )
    path: str = Field(default="/", pattern=r"^/[^;\s]*$", description="Path of the cookies")
    same_site: SameSite = Field(default="Lax", description="SameSite of the cookies")
    secure: bool | None = Field(
        default=None, description="Secure; unset, it follows the scheme of `serve.public.base_url`"
    )


class Enumeration(Section):
    """Whether responses reveal which accounts exist."""

    mitigate: bool = Field(
        default=True, description="Answer alike whether an account exists or not (Kratos' default is `false`)"
    )


class Security(Section):
    """Switches of security features."""

    account_enumeration: Enumeration = Enumeration()
