"""Signing in, by whichever flow: the session, the hooks that are configured, and the guest's cart handed over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from shopkeeper.commerce.port import HandOver
from shopkeeper.flows.flow import Caller
from shopkeeper.flows.hooks import AfterSignIn
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.values import Session
from shopkeeper.storage.database import Unit


class HandsOver(Protocol):
    """The visit's part, which stands above the flows: the cart of the guest that the customer was until now."""

    async def signed_in(self, unit: Unit, *, session: Session, guest: str | None) -> HandOver | None: ...


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session that has just begun, its token, and what became of the guest's cart."""

    session: Session
    token: str
    hand_over: HandOver | None = None


class SigningIn:
    """Starts sessions for flows. `hooks` are the configured ones, by kind of flow and method."""

    def __init__(
        self, *, sessions: Sessions, visit: HandsOver, hooks: Mapping[tuple[str, str], Sequence[AfterSignIn]]
    ) -> None:
        self._sessions = sessions
        self._visit = visit
        self._hooks = hooks

    async def __call__(
        self, unit: Unit, identity: Identity, *, kind: str, method: str, aal: Aal, store: str, caller: Caller
    ) -> SignedIn:
        """A fresh session; the one that the caller had, if any, ends."""
        started = await self._sessions.start(
            unit, identity, method=method, aal=aal, client=caller.client, store=store, replacing=caller.session
        )
        for hook in self._hooks.get((kind, method), ()):
            await hook(unit, session=started.session, client=caller.client)
        report = await self._visit.signed_in(unit, session=started.session, guest=caller.guest)
        return SignedIn(started.session, started.token, report)
