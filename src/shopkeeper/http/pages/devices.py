"""Device names for pages, guessed from the User-Agent."""

from shopkeeper.signin.user_agents import browser_and_system

LONGEST = 60


def device_name(user_agent: str) -> str:
    """Return a short name, empty where the device is unknown.

    >>> device_name("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0")
    'Firefox · Linux'
    """
    return " · ".join(name for name in browser_and_system(user_agent) if name) or user_agent[:LONGEST]
