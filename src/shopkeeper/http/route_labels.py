"""Labels of paths in metrics and in the log: the template of the route that a path belongs to.

Clients choose paths freely. As labels, they would fill the memory, and an id or a mistyped secret in a path would be in
the log.
"""

from collections.abc import Iterable

from starlette.routing import BaseRoute, Route

UNMATCHED = "unmatched"
OTHER = "other"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def trim(path: str, *, prefix: str = "") -> str:
    """Return a path without slashes at its end, and without an optional prefix.

    >>> trim("/admin/identities/", prefix="/admin"), trim("/")
    ('/identities', '/')
    """
    trimmed = path.rstrip("/") or "/"
    return trimmed.removeprefix(prefix) if prefix and trimmed.startswith(f"{prefix}/") else trimmed


def method_label(method: str) -> str:
    """Return the label of an HTTP method.

    Unknown ones share a label, because clients can make up any number of them.
    """
    return method if method in _METHODS else OTHER


class PathLabels:
    """Labels paths by their routes.

    Args:
        routes: the routes of the router.
        further: exact paths that are answered before the router.
        prefix: an optional prefix of each path.
    """

    def __init__(self, routes: Iterable[BaseRoute], *, further: Iterable[str] = (), prefix: str = "") -> None:
        known = [route for route in routes if isinstance(route, Route)]
        self._exact = frozenset({*further, *(route.path for route in known if not route.param_convertors)})
        self._templates = [(route.path_regex, route.path_format) for route in known if route.param_convertors]
        self._prefix = prefix

    def of(self, path: str) -> str:
        """Return the label of a path."""
        if path in self._exact:
            return path
        trimmed = trim(path, prefix=self._prefix)
        if trimmed in self._exact:
            return trimmed
        return next((template for regex, template in self._templates if regex.match(trimmed)), UNMATCHED)
