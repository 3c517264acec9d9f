"""Tells customers by mail of sign-ins from a browser or a network that is new for them, with a link to end the session.

A sign-in has two features: the browser with its system, and the network (an IPv4 /16 or an IPv6 /32, stored as a keyed
hash). Both are guesses, and an attacker chooses the first one; the second is what makes the sign-in of a stranger with
a common browser stand out. It needs no cookie, so native apps count like browsers.

No mail is sent for the first sign-in of an account, nor after three mails in a day: those say what is to be done.
"""

import ipaddress
from collections.abc import Collection
from datetime import timedelta
from typing import Final
from urllib.parse import quote

import structlog

from shopkeeper.client import Client
from shopkeeper.clock import Clock
from shopkeeper.identity.mail_values import mail_values
from shopkeeper.notify.addresses import AddressRefused
from shopkeeper.notify.courier import Courier
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.values import Session
from shopkeeper.signin import device_store
from shopkeeper.signin.end_links import EndLinks
from shopkeeper.signin.user_agents import browser_and_system
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.database import Unit

PATH: Final = "/account/end-session"
LIFESPAN: Final = timedelta(hours=72)
KNOWN_FOR: Final = timedelta(days=365)
"""How long a feature that is not seen again counts as known."""
_BUDGET: Final = 3
_BUDGET_TIME: Final = timedelta(days=1)

log = structlog.get_logger("shopkeeper.devices")


class NewDevices:
    """Knows the devices of identities.

    Args:
        links: the tokens of the links that end a session.
        base_url: where the links lead.
    """

    def __init__(
        self, *, courier: Courier, sessions: Sessions, audit: Audit, links: EndLinks, clock: Clock, base_url: str
    ) -> None:
        self._courier, self._sessions, self._audit, self._clock = courier, sessions, audit, clock
        self._links, self._base_url = links, base_url

    async def see(self, unit: Unit, session: Session, *, client: Client, registered: bool, locale: str) -> None:
        """Record a new session's device in the caller's unit, and queue a mail where it is new for the identity.

        Args:
            registered: whether the identity was created by the same request.
        """
        now, identity = self._clock.now(), session.identity
        tells = await device_store.see(
            unit,
            identity.id,
            self._features(client),
            now=now,
            may_tell=bool(identity.email) and not registered,
            budget=_BUDGET,
            spent_since=now - _BUDGET_TIME,
        )
        if tells and identity.email:
            await self._tell(unit, session, identity.email, client=client, locale=locale)

    async def pending(self, unit: Unit, token: str) -> bool:
        """Whether a link can be used. Changes nothing."""
        return await self._live_session(unit, token) is not None

    async def end(self, unit: Unit, token: str, *, client: Client) -> bool:
        """End the session of a link, once; return whether the link could be used."""
        session = await self._live_session(unit, token)
        if session is None:
            return False
        await self._sessions.revoke(unit, session.id, by=str(session.identity.id), client=client)
        return True

    async def _live_session(self, unit: Unit, token: str) -> Session | None:
        session_id = self._links.session_of(token)
        session = await self._sessions.get(unit, session_id) if session_id is not None else None
        return session if session is not None and session.valid_at(self._clock.now()) else None

    async def _tell(self, unit: Unit, session: Session, email: str, *, client: Client, locale: str) -> None:
        token = self._links.issue(session.id, until=self._clock.now() + LIFESPAN)
        browser, system = browser_and_system(client.user_agent)
        context = {
            **mail_values(session.identity),
            "device": {"browser": browser, "system": system},
            "signed_in_at": session.authenticated_at.isoformat(),
            "end_url": f"{self._base_url}{PATH}?token={quote(token)}",
            "hours": int(LIFESPAN.total_seconds() // 3600),
        }
        try:
            await self._courier.queue(unit, template="new_device", recipient=email, context=context, locale=locale)
        except AddressRefused:
            log.warning("mail.address_refused", template="new_device")

    def _features(self, client: Client) -> Collection[str]:
        browser, system = browser_and_system(client.user_agent)
        network = self._audit.client(_network(client.ip))
        return {f"device:{browser or 'other'}/{system or 'other'}", f"network:{network}"}


def _network(ip: str) -> str:
    """Return the network of an address, wide enough for one provider's customers to stay in it mostly.

    >>> _network("192.0.2.7"), _network("2001:db8:1::1"), _network("::ffff:192.0.2.7")
    ('192.0.0.0', '2001:db8::', '192.0.0.0')
    """
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    bits = 16 if address.version == 4 else 32
    return str(ipaddress.ip_network(f"{address}/{bits}", strict=False).network_address)
