"""Where everything meets: settings in, two ASGI apps, a worker and the upkeep out.

Only this package knows the settings and everyone's address. It is built from the ground up, a file a floor: `ground`,
`people`, `shop`, `conversations`, `doors`, and `house` on top. A new method, kind of flow, engine, channel or door is
one line in the list of its floor.
"""

from shopkeeper.app.extensions import Extensions
from shopkeeper.app.ground import open_database
from shopkeeper.app.house import House, Misconfigured, build, opened, rehearse

__all__ = ["Extensions", "House", "Misconfigured", "build", "open_database", "opened", "rehearse"]
