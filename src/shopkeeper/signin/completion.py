"""Completing a sign-in: the session, the configured hooks, and the guest's cart merged into the customer's.

Every session starts here, whether a flow or the storefront has proven the identity, so that no caller can forget one of
the three. The phases (structure of a submission, `docs/architecture.md`):

    before      blocking hooks; no transaction is open
    complete    inside the transaction: lock the identity, check `still_valid`, effects, session, hooks, cart
    settle      after the commit: what goes to other servers
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from shopkeeper import crypto
from shopkeeper.client import Client
from shopkeeper.commerce.port import CartMergeReport
from shopkeeper.credentials.steps import Proof, Unverified, UpstreamSession
from shopkeeper.errors import AnotherAccount, IdentityDisabled, InvalidCredentials, NotFound, Refusal
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.values import Session
from shopkeeper.signin.cart_merge import AuthHint, CartMerger, PendingMerge
from shopkeeper.signin.hooks import (
    BlockingHook,
    HookOrigin,
    HookRefused,
    HookSubject,
    Refuse,
    RequireVerifiedAddress,
    SignInHook,
)
from shopkeeper.signin.new_devices import NewDevices
from shopkeeper.signin.provider_sessions import ProviderSessions
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.database import Database, Unit
from shopkeeper.tally import Tally


@dataclass(frozen=True, slots=True)
class SignInRequest:
    """The request that a sign-in belongs to, beside the proof.

    Args:
        flow: the name of the flow, which chooses the hooks.
        store: where the session counts.
        replacing: the session that the caller presented; it ends.
        guest: the anonymous visitor that the caller was until now.
        further_guest: the visitor in another browser who has asked for the mail that this sign-in came from.
        hint: what the client wants done with the guest's cart; None merges it.
        expected: the only identity that may be signed in, where a session is confirmed.
        locale: the language of mails where the person's own is not known.
        wished_language: the language that the person has chosen or asks for; it is kept with the session.
        kept: whether the person chose to be kept signed in; None where there was no choice.
        origin: the request, for hooks that open flows; None where there is no flow.
        waits_until: when the session ends unless an app comes for it before (`hand_over`); None for the session of the
            caller itself.
        session_id: the id of such a session.
        silent: whether nobody has asked to sign in, so that a refusal leaves everything as it was: it has no effect.
    """

    flow: str
    store: str
    client: Client
    replacing: Session | None = None
    guest: str | None = None
    further_guest: str | None = None
    hint: AuthHint | None = None
    expected: UUID | None = None
    locale: str = "en"
    wished_language: str | None = None
    kept: bool | None = None
    origin: HookOrigin | None = None
    waits_until: datetime | None = None
    session_id: UUID | None = None
    silent: bool = False


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session, its token, and the report of the cart merge.

    `token` is None where the session kept the one it had. `pending` is a cart merge that another server is asked for
    after the commit (`SignInCompletion.settle`). `identity` is the one that was proven, with its credentials, which the
    session's has not; None where it was not read with them.
    """

    session: Session
    token: str | None
    cart_merge: CartMergeReport | None = None
    pending: PendingMerge | None = None
    identity: Identity | None = None


@dataclass(frozen=True, slots=True)
class Hooks:
    """The configured hooks, by flow and method."""

    blocking: Mapping[tuple[str, str], Sequence[BlockingHook]]
    after: Mapping[tuple[str, str], Sequence[SignInHook]]


class SignInCompletion:
    """Starts and elevates sessions."""

    def __init__(
        self,
        *,
        database: Database,
        identities: Identities,
        sessions: Sessions,
        cart_merger: CartMerger,
        hooks: Hooks,
        audit: Audit,
        tally: Tally | None = None,
        devices: NewDevices | None = None,
        provider_sessions: ProviderSessions | None = None,
    ) -> None:
        self._database = database
        self._identities = identities
        self._sessions = sessions
        self._cart_merger = cart_merger
        self._hooks = hooks
        self._audit = audit
        self._tally = tally or Tally()
        self._devices = devices
        self._provider_sessions = provider_sessions

    async def sign_in(self, proof: Proof, request: SignInRequest) -> SignedIn:
        """Run every phase after the proof. Never call it while a transaction is open.

        Raises `InvalidCredentials` where the proof is no longer valid, `IdentityDisabled`, or a hook's refusal.
        """
        subject = HookSubject(request.flow, proof.method, proof.identity_id, request.client, silent=request.silent)
        await self.before(subject)
        async with self.transaction() as unit:
            signed_in = await self.complete(unit, proof, request)
        return await self.settle(signed_in)

    async def before(self, subject: HookSubject) -> Mapping[str, Any] | None:
        """Run the blocking hooks, each with the traits as the one before has changed them.

        Returns the traits after the last change, or None. Raises the refusals of the hooks.
        """
        changed: Mapping[str, Any] | None = None
        for hook in self._hooks.blocking.get((subject.flow, subject.method), ()):
            answer = await hook(subject)
            if isinstance(answer, Refuse):
                await self._commit(answer.without_effect() if subject.silent else answer, blocked=subject)
                raise answer.error
            if answer is not None:
                changed, subject = answer, replace(subject, traits=answer)
        return changed

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Unit]:
        """Open a unit in which a hook may refuse: everything rolls back then, and only the effect of the refusal
        commits."""
        try:
            async with self._database.unit() as unit:
                yield unit
        except HookRefused as refused:
            await self._commit(refused.refuse)
            raise refused.refuse.error from refused

    async def require_verification(self, unverified: Unverified, request: SignInRequest, *, in_form: bool) -> Refuse:
        """Commit the effect of the refusal of a sign-in that needs a verified address first, and its audit event;
        return the refusal, for the caller to raise. Never call it while a transaction is open.

        `in_form` says that the caller can show the refusal in a form; one that is shown there has no effect.
        """
        origin = request.origin or HookOrigin(
            request.client, request.store, locale=request.locale, wished_language=request.wished_language
        )
        hooks = self._hooks.after.get((request.flow, unverified.method), ())
        required = next((hook for hook in hooks if isinstance(hook, RequireVerifiedAddress)), None)
        if required is None:
            raise TypeError("no hook of this sign-in requires a verified address")
        refuse = required.refusal(unverified, origin)
        subject = unverified.identity.id if unverified.identity is not None else None
        if not request.silent and (refuse.shown is None or not in_form):
            await self._commit(refuse)
        async with self._database.unit() as unit:
            await self._record_refusal(unit, subject, unverified.method, request.client, refuse.error)
        return refuse

    async def complete(
        self, unit: Unit, proof: Proof, request: SignInRequest, *, linked: UpstreamSession | None = None
    ) -> SignedIn:
        """Start a session for a proof, with a new token; the session that the caller had ends.

        `linked` is the session at the provider whose account this unit links; it is remembered with the proof's own.
        """
        async with self._refusals_recorded(unit, proof, request.client):
            if request.expected is not None:
                _require_same(proof, request.expected)
            before = await locked(unit, self._identities, proof)
            identity = await apply_proof(unit, self._identities, before, proof)
            # What else a proof changes is no part of the profile, so `before` says when that has changed.
            changed_at = before.updated_at if identity.traits == before.traits else identity.updated_at
            started = await self.start(
                unit,
                identity,
                request,
                method=proof.method,
                aal=proof.aal,
                changed_at=changed_at,
                amr=proof.amr,
                provider=proof.provider,
                upstreams=_upstreams(proof, linked),
                ends_at=proof.ends_at,
            )
            return replace(started, identity=identity)

    async def elevate(
        self,
        unit: Unit,
        proof: Proof,
        *,
        session: Session,
        client: Client,
        new_token: bool,
        linked: UpstreamSession | None = None,
    ) -> SignedIn:
        """Add a proof to a session, which keeps its id. `new_token` gives it another token: browsers get a new cookie,
        native apps keep their token. `linked` as in `complete`, which raises the same.
        """
        async with self._refusals_recorded(unit, proof, client):
            _require_same(proof, session.identity.id)
            before = await locked(unit, self._identities, proof)
            await apply_proof(unit, self._identities, before, proof)
            elevated = await self._sessions.elevate(
                unit,
                session,
                method=proof.method,
                aal=proof.aal,
                client=client,
                new_token=new_token,
                amr=proof.amr,
                provider=proof.provider,
            )
            await self._remember(unit, elevated.session, _upstreams(proof, linked))
            return SignedIn(elevated.session, elevated.token)

    async def start(
        self,
        unit: Unit,
        identity: Identity,
        request: SignInRequest,
        *,
        method: str,
        aal: Aal = Aal.AAL1,
        amr: str | None = None,
        provider: str | None = None,
        upstreams: Sequence[UpstreamSession] = (),
        changed_at: datetime | None = None,
        ends_at: datetime | None = None,
    ) -> SignedIn:
        """Start a session for an identity that this unit has locked or created; `changed_at` and `ends_at` as in
        `Sessions.start`.

        Where it replaces a session of the same identity, a sign-out at that one's providers ends it.
        """
        replaced, session_id = request.replacing, request.session_id or crypto.new_id()
        if self._provider_sessions is not None and replaced is not None and replaced.identity.id == identity.id:
            began_with = [each.provider for each in upstreams]
            await self._provider_sessions.move(unit, replaced.id, session_id, but=began_with)
        started = await self._sessions.start(
            unit,
            identity,
            method=method,
            aal=aal,
            amr=amr,
            provider=provider,
            client=request.client,
            store=request.store,
            replacing=replaced,
            kept=request.kept,
            locale=request.wished_language or identity.locale,
            changed_at=changed_at,
            waits_until=request.waits_until,
            session_id=session_id,
            ends_at=ends_at,
        )
        await self._remember(unit, started.session, upstreams)
        if request.wished_language is not None and identity.locale is None:
            await self._identities.learn_locale(unit, identity.id, request.wished_language)
        if self._devices is not None:
            await self._devices.see(
                unit,
                started.session,
                client=request.client,
                registered=request.flow == "registration",
                # Whoever has signed in need not be the owner.
                locale=identity.locale or request.wished_language or request.locale,
            )
        origin = request.origin or HookOrigin(
            request.client, request.store, locale=request.locale, wished_language=request.wished_language
        )
        for hook in self._hooks.after.get((request.flow, method), ()):
            refused = await hook(unit, session=started.session, origin=origin)
            if refused is not None:
                raise HookRefused(refused.without_effect() if request.silent else refused)
        merged = await self._cart_merger.within(
            unit, started.session, guest=request.guest, hint=request.hint, knows_customer=started.since_change
        )
        if request.further_guest not in {None, request.guest}:
            # A remote engine's merge is made by the worker: only one is waited for.
            await self._cart_merger.within(unit, started.session, guest=request.further_guest, knows_customer=True)
        if isinstance(merged, PendingMerge):
            return SignedIn(started.session, started.token, pending=merged)
        return SignedIn(started.session, started.token, merged)

    async def keep(
        self,
        unit: Unit,
        session: Session,
        identity: Identity,
        *,
        new_token: bool,
        linked: UpstreamSession | None = None,
    ) -> SignedIn:
        """Hold a session for a change of its identity, which this unit has locked, with a new token if that is wanted.

        `linked` is the session at the provider whose account the change links; a sign-out there ends ours from now on.
        Raises `SessionInactive` or `IdentityDisabled` where one of them has ended meanwhile.
        """
        if not identity.active:
            raise IdentityDisabled("The account is switched off; the shop's operator can switch it on again.")
        kept = await self._sessions.keep(unit, replace(session, identity=identity), new_token=new_token)
        if linked is not None:
            await self._remember(unit, kept.session, [linked])
        return SignedIn(kept.session, kept.token)

    async def hand_over(
        self,
        unit: Unit,
        session_id: UUID,
        *,
        client: Client,
        guest: str | None,
        replacing: Session | None,
        is_new: bool,
    ) -> SignedIn:
        """Give a session to the app that it has waited for, and merge the cart of the app's guest; the session that the
        app had ends. `is_new` is False for a session that the app had before, and that was only confirmed.

        Raises `SessionInactive` or `IdentityDisabled` where one of them has ended meanwhile.
        """
        issued = await self._sessions.hand_over(unit, session_id, client=client, replacing=replacing, is_new=is_new)
        merged = None
        if guest is not None:
            merged = await self._cart_merger.within(unit, issued.session, guest=guest, knows_customer=True)
        if isinstance(merged, PendingMerge):
            return SignedIn(issued.session, issued.token, pending=merged)
        return SignedIn(issued.session, issued.token, merged)

    async def after_change(self, unit: Unit, session: Session, *, flow: str, method: str, client: Client) -> None:
        """Run the configured hooks of a change inside its transaction. Raises `HookRefused`."""
        origin = HookOrigin(client, session.store or "", wished_language=session.known_locale)
        for hook in self._hooks.after.get((flow, method), ()):
            refused = await hook(unit, session=session, origin=origin)
            if refused is not None:
                raise HookRefused(refused)

    async def settle(self, signed_in: SignedIn) -> SignedIn:
        """Have a remote engine merge the cart after the commit, within a deadline. Raises nothing for the engine."""
        if signed_in.pending is not None:
            merged = await self._cart_merger.settle(signed_in.pending)
            signed_in = replace(signed_in, cart_merge=merged, pending=None)
        if signed_in.cart_merge is not None:
            self._tally.count("cart_merges", signed_in.cart_merge.outcome.value)
        return signed_in

    async def _remember(self, unit: Unit, session: Session, upstreams: Sequence[UpstreamSession]) -> None:
        """Store the providers' sessions that a session began with, was confirmed by, or has linked accounts from."""
        if self._provider_sessions is not None:
            await self._provider_sessions.remember(unit, session.id, *upstreams)

    @asynccontextmanager
    async def _refusals_recorded(self, unit: Unit, proof: Proof, client: Client) -> AsyncIterator[None]:
        """Record a refusal in the audit trail, although everything else rolls back: otherwise credentials could be
        tried out without a trace.
        """
        try:
            yield
        except (Refusal, HookRefused) as refused:
            refusal = refused.refuse.error if isinstance(refused, HookRefused) else refused
            await self._record_refusal(unit, proof.identity_id, proof.method, client, refusal)
            raise

    async def _commit(self, refuse: Refuse, *, blocked: HookSubject | None = None) -> None:
        """Commit the effect of a hook's refusal in a unit of its own; for a blocking hook also the audit event of the
        refused sign-in, which a hook inside the transaction has left already."""
        wanted = refuse.before is None or await refuse.before()
        async with self._database.unit() as unit:
            if refuse.effect is not None and wanted:
                await refuse.effect(unit)
            if blocked is not None and blocked.flow != "registration":
                await self._record_refusal(unit, blocked.identity_id, blocked.method, blocked.client, refuse.error)

    async def _record_refusal(
        self, unit: Unit, identity_id: UUID | None, method: str, client: Client, refusal: Refusal
    ) -> None:
        await self._audit.record(
            unit,
            "sign_in.failed",
            outcome="refused",
            actor="anonymous",
            subject=str(identity_id) if identity_id is not None else None,
            client_ip=client.ip,
            details={"method": method, "reason": _reason(refusal)},
            always=True,
        )


def _require_same(proof: Proof, expected: UUID) -> None:
    """Raise where a proof is of another identity than the one that is confirmed or elevated."""
    if proof.identity_id != expected:
        raise InvalidCredentials if proof.provider is None else AnotherAccount


async def locked(unit: Unit, identities: Identities, proof: Proof) -> Identity:
    """Lock the identity, and return it where the proof is still valid.

    Raises `InvalidCredentials` where what was proven has changed since, `IdentityDisabled` where the account is
    disabled.
    """
    try:
        identity = await identities.lock(unit, proof.identity_id)
    except NotFound as gone:
        raise InvalidCredentials from gone
    if not proof.still_valid(identity) and not (proof.else_valid and await proof.else_valid(unit, identity)):
        raise InvalidCredentials
    if not identity.active:
        raise IdentityDisabled(
            "The account is switched off; the shop's operator can switch it on again.",
            details={"identity_id": str(identity.id)},
        )
    return identity


async def apply_proof(unit: Unit, identities: Identities, identity: Identity, proof: Proof) -> Identity:
    """Write what a proof implies for its identity, which is locked. Returns the identity as it is now."""
    if proof.effect is not None:
        await proof.effect(unit)
    if proof.update is not None:
        identity = await proof.update(unit, identity)
    return await identities.apply_proof(
        unit, identity, verified=proof.verified, takes_over=proof.takes_over, recovers=proof.recovers
    )


def _upstreams(proof: Proof, linked: UpstreamSession | None) -> Sequence[UpstreamSession]:
    """Return the providers' sessions of a sign-in, the proof's own last."""
    return [each for each in (linked, proof.upstream) if each is not None]


def _reason(refusal: Refusal) -> str:
    return "wrong_credentials" if isinstance(refusal, InvalidCredentials) else refusal.code
