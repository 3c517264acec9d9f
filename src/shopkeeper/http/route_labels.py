"""What a path is called in metrics and in the log: the template of the route that it belongs to.

Paths come from strangers. Were they labels as they come, everybody could fill the memory with them, and an id or a
mistyped secret in a path would stand in the log.
"""

from collections.abc import Iterable

from starlette.routing import BaseRoute, Route

UNMATCHED = "unmatched"
OTHER = "other"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def trim(path: str, *, prefix: str = "") -> str:
    """A path without slashes at its end, and without the prefix that may stand before it.

    >>> trim("/admin/identities/", prefix="/admin"), trim("/")
    ('/identities', '/')
    """
    trimmed = path.rstrip("/") or "/"
    return trimmed.removeprefix(prefix) if prefix and trimmed.startswith(f"{prefix}/") else trimmed


def method_label(method: str) -> str:
    """The method; a client may make up as many as it likes."""
    return method if method in _METHODS else OTHER


class PathLabels:
    """Names paths by their routes.

    Args:
        routes: what the router knows.
        further: exact paths that are answered ahead of it.
        prefix: what may stand before each path.
    """

    def __init__(self, routes: Iterable[BaseRoute], *, further: Iterable[str] = (), prefix: str = "") -> None:
        known = [route for route in routes if isinstance(route, Route)]
        self._exact = frozenset({*further, *(route.path for route in known if not route.param_convertors)})
        self._templates = [(route.path_regex, route.path_format) for route in known if route.param_convertors]
        self._prefix = prefix

    def of(self, path: str) -> str:
        """The label of a path."""
        if path in self._exact:
            return path
        trimmed = trim(path, prefix=self._prefix)
        if trimmed in self._exact:
            return trimmed
        return next((template for regex, template in self._templates if regex.match(trimmed)), UNMATCHED)
