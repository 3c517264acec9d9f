"""Sessions as devices. Their names are guessed from the User-Agent."""

from dataclasses import dataclass
from datetime import datetime

from shopkeeper.client import without_port
from shopkeeper.sessions.values import Session
from shopkeeper.signin.user_agents import browser_and_system

LONGEST = 60


@dataclass(frozen=True, slots=True)
class Device:
    """A session as its owner sees it."""

    id: str
    name: str
    address: str
    since: datetime
    until: datetime
    current: bool
    by_support: bool = False
    """Whether an agent of the shop acts in it."""
    provider: str | None = None
    """The id of the identity provider that was signed in with last."""


def device_of(session: Session, *, current: bool) -> Device:
    """Return the device of a session, as it was last used."""
    latest = session.devices[-1] if session.devices else None
    return Device(
        id=str(session.id),
        name=device_name(latest.user_agent if latest else ""),
        address=without_port(latest.ip_address) if latest else "",
        since=session.authenticated_at,
        until=session.expires_at,
        current=current,
        by_support=session.actor is not None,
        provider=next((proof.provider for proof in reversed(session.authentication_methods) if proof.provider), None),
    )


def device_name(user_agent: str) -> str:
    """Return a short name, empty where the device is unknown.

    >>> device_name("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0")
    'Firefox · Linux'
    """
    return " · ".join(name for name in browser_and_system(user_agent) if name) or user_agent[:LONGEST]
