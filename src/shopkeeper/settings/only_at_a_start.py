"""Settings that take effect at a start only: a process may not begin to use others beside those that run."""

from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from typing import Any, Final

from shopkeeper.settings.findings import require_startable
from shopkeeper.settings.problems import Problem, SettingsError
from shopkeeper.settings.root import Settings

NEEDS_RESTART: Final = (
    "dsn", "dev", "demo", "serve.public.host", "serve.public.port", "serve.admin.host", "serve.admin.port",
    "http", "log", "metrics", "cache", "outbox",
)  # fmt: skip
"""Settings of the process: its ports, its database, its log. Kratos refuses to change `serve` and `log`, too."""
StartValues = Mapping[str, Any]
"""The values of these settings at the start, by path. They can be passed to another process."""


def start_values(settings: Settings) -> StartValues:
    """Return the values that only a start can change."""
    return {path: reduce(getattr, path.split("."), settings) for path in NEEDS_RESTART}


def load_beside(load: Callable[[], Settings], start: StartValues) -> Settings:
    """Load the settings of a process that serves beside others. Raises `SettingsError`, as `require_usable_beside`."""
    settings = load()
    require_usable_beside(start, settings)
    return settings


def require_usable_beside(start: StartValues, settings: Settings) -> None:
    """Raise `SettingsError` where settings stop a start, or change what only a start can change."""
    require_startable(settings)
    if problems := list(_changed(start, start_values(settings))):
        raise SettingsError(problems)


def _changed(former: StartValues, values: StartValues) -> Iterator[Problem]:
    for path in NEEDS_RESTART:
        if former[path] != values[path]:
            yield Problem(path, f"{path} has changed, which takes effect at a start only; start the server again.")
