"""Signing in, through whichever door: the session, the hooks that are configured, and the guest's cart handed over.

There is no other way to a session, so that no door can forget one of the three.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from shopkeeper.commerce.port import HandOver
from shopkeeper.credentials.method import Proof
from shopkeeper.errors import Refusal
from shopkeeper.identity.values import Client
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.values import Session
from shopkeeper.signin.cart_merge import AuthHint, CartMerger
from shopkeeper.signin.hooks import AfterSignIn
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.database import Unit


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session that has just begun, its token, and what became of the guest's cart."""

    session: Session
    token: str
    hand_over: HandOver | None = None


class SignInCompletion:
    """Starts sessions. `hooks` are the configured ones, by kind of flow and method."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        handing_over: CartMerger,
        hooks: Mapping[tuple[str, str], Sequence[AfterSignIn]],
        audit: Audit,
    ) -> None:
        self._sessions = sessions
        self._handing_over = handing_over
        self._hooks = hooks
        self._audit = audit

    async def __call__(
        self,
        unit: Unit,
        proof: Proof,
        *,
        kind: str,
        store: str,
        client: Client,
        replacing: Session | None,
        guest: str | None,
        hint: AuthHint | None = None,
    ) -> SignedIn:
        """A fresh session for whoever has proven who they are; the one they had until now, `replacing`, ends.

        `guest` is the visitor they were, and `hint` what they wish done with that one's cart. Raises
        `IdentityDisabled`, or what an engine refuses. Then nobody is signed in, but it is remembered all the same:
        otherwise credentials could be tried out without a trace.
        """
        async with self._remembered(unit, proof, client):
            started = await self._sessions.start(
                unit,
                proof.identity,
                method=proof.method,
                aal=proof.aal,
                client=client,
                store=store,
                replacing=replacing,
            )
            for hook in self._hooks.get((kind, proof.method), ()):
                await hook(unit, session=started.session, client=client)
            report = await self._handing_over(unit, started.session, guest=guest, hint=hint)
            return SignedIn(started.session, started.token, report)

    @asynccontextmanager
    async def _remembered(self, unit: Unit, proof: Proof, client: Client) -> AsyncIterator[None]:
        """Writes a refusal down, which undoes everything else."""
        try:
            yield
        except Refusal as refused:
            await self._audit.record(
                unit,
                "sign_in.failed",
                outcome="refused",
                actor=str(proof.identity.id),
                subject=str(proof.identity.id),
                client_ip=client.ip,
                details={"method": proof.method, "reason": refused.code},
                always=True,
            )
            raise
