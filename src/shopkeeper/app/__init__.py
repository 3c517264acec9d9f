"""The composition root: settings in; two ASGI apps, a worker and the cleanup out.

Only this package knows the settings and every other package. It is built in this order, one file each:
`infrastructure`, `accounts`, `commerce`, `flows`, `routes`, and `application` on top; `lifecycle` starts and stops it,
and `reloading` replaces it when the configuration changes. A new method, flow, engine, channel or route group is one
line in the list of its file.
"""

from shopkeeper.app.application import Application, Misconfigured, build
from shopkeeper.app.extensions import Extensions
from shopkeeper.app.infrastructure import build_audit, look_at_cache, open_database
from shopkeeper.app.lifecycle import dry_run, opened, running
from shopkeeper.app.signing_keys import build_signing_keys

__all__ = [
    "Application",
    "Extensions",
    "Misconfigured",
    "build",
    "build_audit",
    "build_signing_keys",
    "dry_run",
    "look_at_cache",
    "open_database",
    "opened",
    "running",
]
