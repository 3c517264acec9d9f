"""Creates the value of a new session."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from shopkeeper.client import Client
from shopkeeper.crypto import new_id
from shopkeeper.identity.values import Identity
from shopkeeper.languages.choice import storable
from shopkeeper.sessions.lifetimes import Lifetimes
from shopkeeper.sessions.store import LONGEST_ADDRESS, LONGEST_USER_AGENT
from shopkeeper.sessions.values import AuthenticationMethod, Device, Session


def new_session(
    identity: Identity,
    proof: AuthenticationMethod,
    *,
    client: Client,
    store: str | None,
    lifetimes: Lifetimes,
    kept: bool | None,
    locale: str | None,
    waits_until: datetime | None,
    session_id: UUID | None,
) -> Session:
    """Return a session that begins with a proof, on the client's device. Its identity is stripped of credentials.

    It ends at `waits_until`, if that is given, and with its proof.
    """
    now = proof.completed_at
    expires_at = lifetimes.expiry(issued_at=now, now=now, kept=kept, ends_by=proof.ends_at)
    return Session(
        id=session_id or new_id(),
        identity=replace(identity, credentials={}),
        active=True,
        aal=proof.aal,
        authentication_methods=(proof,),
        authenticated_at=proof.completed_at,
        issued_at=proof.completed_at,
        expires_at=min(expires_at, waits_until) if waits_until is not None else expires_at,
        devices=(device_of(client),),
        store=store,
        idle_ends_at=lifetimes.idle_end(now=now, kept=kept),
        kept=kept,
        locale=storable(locale),
    )


def device_of(client: Client) -> Device:
    """Return the client as a device, cut to the lengths that the database stores."""
    return Device(
        id=new_id(),
        ip_address=client.address[:LONGEST_ADDRESS],
        user_agent=client.user_agent[:LONGEST_USER_AGENT],
        location="",
    )
