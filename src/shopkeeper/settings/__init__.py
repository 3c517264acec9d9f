"""All settings, typed and documented. Only this package reads the environment and configuration files."""

from shopkeeper.settings.catalogue import Key, known_keys
from shopkeeper.settings.describe import describe
from shopkeeper.settings.dsn import Dsn
from shopkeeper.settings.findings import findings
from shopkeeper.settings.loading import load
from shopkeeper.settings.problems import Finding, Problem, SettingsError
from shopkeeper.settings.root import CookieAttributes, Settings
from shopkeeper.settings.values import Rate

__all__ = [
    "CookieAttributes",
    "Dsn",
    "Finding",
    "Key",
    "Problem",
    "Rate",
    "Settings",
    "SettingsError",
    "describe",
    "findings",
    "known_keys",
    "load",
]
