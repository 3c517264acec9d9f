"""Seals credential configs that contain directly usable secrets (TOTP secrets, upstream tokens).

They are sealed with AES-256-GCM under `secrets.cipher` (`crypto.KeyRing`), bound to one identity and type, so that a
row copied to another identity cannot be opened there. A config is opened when it is first read, not when its row is
loaded.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog

from shopkeeper.crypto import KeyRing, Unsealable

PURPOSE: Final = "credentials"
"""The purpose of the key ring, for key derivation."""
SEALED: Final = "sealed"
"""The only key of a stored config that is sealed."""
MOST_REMEMBERED: Final = 1_000
"""How many unreadable credentials are remembered, so that their warning is not repeated."""

log = structlog.get_logger("shopkeeper.identity")


class SealedConfig(Mapping[str, Any]):  # noqa: PLW1641 - compared like a dict, and like a dict not hashable
    """A stored config that is opened when it is first read. One that cannot be opened reads as empty.

    Args:
        stored: the config as it is in the row.
        open_: returns the opened config, or None where it cannot be opened.
    """

    __slots__ = ("_open", "_opened", "stored")

    def __init__(self, stored: Mapping[str, Any], open_: Callable[[], Mapping[str, Any] | None]) -> None:
        self.stored = stored
        self._open: Callable[[], Mapping[str, Any] | None] | None = open_
        self._opened: Mapping[str, Any] | None = None

    @property
    def readable(self) -> bool:
        """Whether the config can be opened with the configured secrets."""
        return self._content() is not None

    def __getitem__(self, key: str) -> Any:
        return (self._content() or {})[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content() or {})

    def __len__(self) -> int:
        return len(self._content() or {})

    def __eq__(self, other: object) -> bool:
        """Compare the content. An unreadable config equals only itself, so that it is never taken for an empty one."""
        if isinstance(other, SealedConfig) and self.stored == other.stored:
            return True
        if not isinstance(other, Mapping) or not self.readable:
            return False
        return (not isinstance(other, SealedConfig) or other.readable) and dict(self) == dict(other)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    def _content(self) -> Mapping[str, Any] | None:
        if self._open is not None:
            self._opened, self._open = self._open(), None
        return self._opened


class ConfigSealer:
    """Seals configs for the database and opens them after reading.

    Args:
        sealed: the types whose configs are sealed.
        keys: the first one seals, all of them open. Raises `ValueError` where it is None but types are to be sealed.
    """

    def __init__(self, sealed: Collection[str], *, keys: KeyRing | None) -> None:
        if sealed and keys is None:
            raise ValueError(f"no keys to seal the credentials of {', '.join(sorted(sealed))} with")
        self._sealed = frozenset(sealed)
        self._keys = keys
        self._warn = lru_cache(maxsize=MOST_REMEMBERED)(_warn)

    def to_row(self, owner: UUID, type_: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the config to store. One that cannot be opened is written back unchanged."""
        if isinstance(config, SealedConfig) and not config.readable:
            return dict(config.stored)
        if self._keys is None or type_ not in self._sealed or not config:
            return dict(config)
        plain = msgspec.json.encode(dict(config))
        return {SEALED: self._keys.seal_text(plain, context=_context(owner, type_))}

    def from_row(self, owner: UUID, type_: str, stored: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the config of a row. An empty one is not sealed, because it holds no secret."""
        if type_ not in self._sealed or not stored:
            return stored
        return SealedConfig(stored, lambda: self._opened(owner, type_, stored))

    def _opened(self, owner: UUID, type_: str, stored: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Refuse a config in plain text, too: otherwise write access to the database would allow planting a secret."""
        text = stored.get(SEALED)
        try:
            if self._keys is None or not isinstance(text, str):
                raise Unsealable("not sealed")
            plain = self._keys.open_text(text, context=_context(owner, type_))
            return msgspec.json.decode(plain, type=dict[str, Any])
        except (Unsealable, msgspec.DecodeError):
            self._warn(owner, type_)
            return None


def holds_something(config: Mapping[str, Any]) -> bool:
    """Whether a config is stored, readable or not."""
    return bool(config) or isinstance(config, SealedConfig)


def _warn(owner: UUID, type_: str) -> None:
    log.warning("identity.credential_unreadable", identity_id=str(owner), type=type_)


def _context(owner: UUID, type_: str) -> bytes:
    return f"{owner}/{type_}".encode()
