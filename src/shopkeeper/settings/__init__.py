"""All settings, typed and documented. Only this package reads the environment and configuration files."""

from shopkeeper.settings.catalogue import Key, known_keys
from shopkeeper.settings.describe import describe
from shopkeeper.settings.dsn import Dsn
from shopkeeper.settings.findings import findings, require_startable
from shopkeeper.settings.loading import load
from shopkeeper.settings.only_at_a_start import StartValues, load_beside, require_usable_beside, start_values
from shopkeeper.settings.openid_findings import logout_uris, redirect_uris
from shopkeeper.settings.problems import Finding, Problem, SettingsError
from shopkeeper.settings.root import CookieAttributes, Settings
from shopkeeper.settings.sources import files_of, look_at_files_of, revision_of
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
    "StartValues",
    "describe",
    "files_of",
    "findings",
    "known_keys",
    "load",
    "load_beside",
    "logout_uris",
    "look_at_files_of",
    "redirect_uris",
    "require_startable",
    "require_usable_beside",
    "revision_of",
    "start_values",
]
