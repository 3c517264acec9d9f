"""Names of browsers and systems, guessed from the User-Agent. That header is not reliable enough for more."""

from collections.abc import Sequence

# Order matters: most browsers also name the older browsers that they imitate.
_BROWSERS: Sequence[tuple[str, str]] = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
)
_SYSTEMS: Sequence[tuple[str, str]] = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "Mac"),
    ("Linux", "Linux"),
)


def browser_and_system(user_agent: str) -> tuple[str | None, str | None]:
    """Return the names of the browser and the system, as far as they are known.

    >>> browser_and_system("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0")
    ('Firefox', 'Linux')
    """
    return _first(user_agent, _BROWSERS), _first(user_agent, _SYSTEMS)


def _first(user_agent: str, names: Sequence[tuple[str, str]]) -> str | None:
    return next((name for mark, name in names if mark in user_agent), None)
