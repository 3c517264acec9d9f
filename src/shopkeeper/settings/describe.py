"""The effective settings as text, for `shopkeeper doctor`: every key with its value, secrets masked."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from pydantic import SecretStr

from shopkeeper.settings.catalogue import Key, known_keys
from shopkeeper.settings.dsn import Dsn
from shopkeeper.settings.root import Settings
from shopkeeper.settings.section import Section
from shopkeeper.settings.values import format_duration

_LONGEST: Final = 120


def describe(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each key in effect with its value, in the order of the reference."""
    for key in known_keys():
        if key.later is None and "[]" not in key.path:
            yield key.path, _text(_at(settings, key), secret=key.secret)


def _at(settings: Settings, key: Key) -> Any:
    value: Any = settings
    for step in key.path.split("."):
        value = getattr(value, step)
    return value


def _text(value: Any, *, secret: bool) -> str:
    if secret and not isinstance(value, Dsn):
        return _masked(value)
    show = next((show for kind, show in _SHOWN.items() if isinstance(value, kind)), str)
    return _short(show(value))


def _masked(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({len(value)} set)" if value else "(not set)"
    if isinstance(value, SecretStr) and value.get_secret_value() == "memory":
        return "memory"
    return "(set)" if value else "(not set)"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _section(section: Section) -> str:
    fields = {name: value for name, value in section if value not in (None, (), {})}
    return "{" + ", ".join(f"{name}: {_text(value, secret=name == 'config')}" for name, value in fields.items()) + "}"


_SHOWN: Final[Mapping[type, Callable[[Any], str]]] = {
    bool: lambda value: str(value).lower(),
    type(None): lambda _: "(not set)",
    timedelta: format_duration,
    Section: _section,
    tuple: lambda value: ", ".join(_text(item, secret=False) for item in value) or "(none)",
    Mapping: lambda value: ", ".join(sorted(value)) or "(none)",
}
