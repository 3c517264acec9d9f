"""What services authenticate with, wherever the settings name it: keys as their SHA-256, and sets of public keys."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from shopkeeper.settings.known_secrets import PRINTED, is_published
from shopkeeper.settings.section import TRIMMED, Section, without_line_break
from shopkeeper.settings.serving import SHORTEST_KEY, hex_digest, key_digest, of_something

MOST_KEYS: Final = 8
"""Keys of one service at once, for rotation."""
LARGEST_KEY_SET: Final = 65_536
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7E]([\x20-\x7E]*[\x21-\x7E])?")
_Hash = Annotated[str, TRIMMED, AfterValidator(hex_digest), AfterValidator(of_something)]


class ServiceKey(Section):
    """A key or secret of a service: stored as its SHA-256. The key itself is never stored."""

    hash: _Hash = Field(repr=False, description="SHA-256 of the key, in hex, instead of the key itself")

    @model_validator(mode="before")
    @classmethod
    def _from_plain(cls, value: Any) -> Any:
        value = without_line_break(value)
        if isinstance(value, str):
            return {"hash": key_digest(value)}
        if not isinstance(value, ServiceKey | Mapping):
            raise ValueError("must be a key of at least 32 characters, or the key's SHA-256 in `hash`")
        return value


class AuthorizationValue(Section):
    """A value of the `Authorization` header: stored as its SHA-256."""

    hash: _Hash = Field(repr=False, description="SHA-256 of the whole value, in hex, instead of the value itself")

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


def _of_text(value: Any) -> Any:
    """Accept a JWK set as JSON text too, as a variable of the environment or a file has it."""
    value = without_line_break(value)
    if not isinstance(value, str):
        return value
    if len(value) > LARGEST_KEY_SET:
        raise ValueError(f"must have at most {LARGEST_KEY_SET} characters")
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('must be a JWK set: {"keys": [...]}') from None


def _public(key_set: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Refuse a JWK set that is none, or holds anything secret. Raises `ValueError`."""
    if key_set is None:
        return None
    keys = key_set.get("keys")
    if not isinstance(keys, list) or not keys or not all(isinstance(key, dict) for key in keys):
        raise ValueError('must be a JWK set with at least one key: {"keys": [...]}')
    if any({"d", "p", "q", "k"} & key.keys() for key in keys):
        raise ValueError("has a private or secret key; the client keeps that, and only its public key belongs here")
    return key_set


PublicKeys = Annotated[Mapping[str, Any] | None, BeforeValidator(_of_text), AfterValidator(_public)]
"""The public keys of a service: a JWK set (RFC 7517 section 5), or None."""
