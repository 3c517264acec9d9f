"""Where everything meets: settings in, two ASGI apps, a worker and the upkeep out.

Only this package knows the settings and everyone's address. It is built from the ground up, a file a floor: `ground`,
`people`, `shop`, `conversations`, `doors`, and `house` on top. A new method, kind of flow, engine, channel or door is
one line in the list of its floor.
"""

from shopkeeper.app.application import Application, Misconfigured, build, dry_run, opened
from shopkeeper.app.extensions import Extensions
from shopkeeper.app.infrastructure import open_database

__all__ = ["Application", "Extensions", "Misconfigured", "build", "dry_run", "open_database", "opened"]
