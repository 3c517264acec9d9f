"""Sessions: start, look up by token, extend, elevate, refresh and revoke them.

A token is opaque, and only its hash is stored. Every change to a session is announced after the commit, so that all
processes drop it from their caches (`cache.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement

from shopkeeper.client import Client
from shopkeeper.clock import Clock
from shopkeeper.crypto import digest, new_token
from shopkeeper.errors import IdentityDisabled, NotFound, TokenInvalid
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.languages.choice import storable
from shopkeeper.sessions import ending
from shopkeeper.sessions import store as rows
from shopkeeper.sessions.acting import Acting
from shopkeeper.sessions.cache import CachedSession, Observer, SessionCache
from shopkeeper.sessions.elevation import ElevatedSession, SessionElevation
from shopkeeper.sessions.end_watch import EndCallback, EndWatch
from shopkeeper.sessions.ending import ChosenSessions, EndedSessions
from shopkeeper.sessions.errors import SessionIsCurrent, refuse_impersonated
from shopkeeper.sessions.last_seen import LastSeen
from shopkeeper.sessions.lifetimes import Lifetimes
from shopkeeper.sessions.logout import LogoutTokens
from shopkeeper.sessions.new_session import device_of, new_session
from shopkeeper.sessions.queries import Render, SessionPage, SessionQueries
from shopkeeper.sessions.refresh import IssuedSession, RefreshBudgets, SessionRefresh
from shopkeeper.sessions.refresh_tokens import RefreshTokens
from shopkeeper.sessions.revocation import ForgetEnded, Revocation
from shopkeeper.sessions.values import AuthenticationMethod, Session
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.cache.port import Cache
from shopkeeper.storage.database import Database, Unit
from shopkeeper.tally import Tally

TOKEN_PREFIX = "shk_st_"  # noqa: S105 - the prefix of every token, for people and secret scanners
CACHE_CAPACITY = 64_000_000
PAGE = 250


class Sessions:
    """The sessions of identities.

    Args:
        identities: provides the identities of sessions.
        database: for looking up tokens and for refreshing, which open units of their own.
        cache: carries invalidations to the other processes.
        lifetimes: how long a session lives, and how many an identity may have.
        earliest_extend: a session is extended only when it has less than this left; at any time when unset.
        audit: records starts and ends.
        render: renders the answer to whoami, once for each cached session.
        logout_secrets: secrets for the tokens of logout links, newest first.
        refresh: families of tokens; without it, tokens are never replaced.
        refresh_budgets: limits how often is refreshed; None limits nothing.
        tally: counts refreshes.
        cache_capacity: the bytes that cached sessions may take in this process.
        forget: called with each revocation, inside its transaction. Deleted sessions cascade in the database.
        acting: the sessions in which agents act as others; without it, none of them is valid.
    """

    def __init__(
        self,
        identities: Identities,
        database: Database,
        *,
        cache: Cache,
        clock: Clock,
        lifetimes: Lifetimes,
        earliest_extend: timedelta | None,
        audit: Audit,
        render: Render,
        logout_secrets: Sequence[str],
        refresh: RefreshTokens | None = None,
        refresh_budgets: RefreshBudgets | None = None,
        tally: Tally | None = None,
        token_prefix: str = TOKEN_PREFIX,
        cache_capacity: int = CACHE_CAPACITY,
        forget: ForgetEnded | None = None,
        acting: Acting | None = None,
    ) -> None:
        self._clock, self._lifetimes, self._earliest_extend = clock, lifetimes, earliest_extend
        self._audit, self._prefix = audit, token_prefix
        self._revocation = Revocation(
            clock=clock, forget=forget, acting=acting, announce=lambda unit, ids: self._announce(unit, *ids)
        )
        self._logout = LogoutTokens(logout_secrets)
        self._kept_longer = refresh.idle if refresh else timedelta()
        self._end_watch = EndWatch(database, clock=clock)
        self._cache = SessionCache(cache, clock=clock, capacity=cache_capacity, observer=self._end_watch)
        self._last_seen = LastSeen(database, cache=self._cache, clock=clock, lifetimes=lifetimes)
        self._reader = SessionQueries(
            identities, database, cache=self._cache, clock=clock, render=render, refresh=refresh, acting=acting
        )
        self._elevation = SessionElevation(
            reader=self._reader, cache=self._cache, clock=clock, tokens=refresh, token_prefix=token_prefix
        )
        self._refresh: SessionRefresh | None = None
        if refresh is not None:
            self._refresh = SessionRefresh(
                database,
                reader=self._reader,
                cache=self._cache,
                tokens=refresh,
                revocation=self._revocation,
                budgets=refresh_budgets,
                tally=tally or Tally(),
                clock=clock,
                lifetimes=lifetimes,
                audit=audit,
                token_prefix=token_prefix,
            )

    @property
    def cached_bytes(self) -> int:
        """The memory that cached sessions take."""
        return self._cache.size

    def observe(self, observer: Observer) -> None:
        """Call an observer with every change to sessions and identities, of this process or another."""
        self._cache.observe(observer)

    async def listen(self) -> None:
        """Begin to cache sessions. Before this, every lookup queries the database."""
        await self._cache.listen()

    async def close(self) -> None:
        """Drop the cached sessions and stop watching for ended ones."""
        await self._last_seen.close()
        await self._end_watch.close()
        await self._cache.close()

    def on_ended(self, session_id: UUID, callback: EndCallback) -> Callable[[], None]:
        """Call `callback` once, soon after this process can know that a session has ended: for live connections.

        A session ends when it is revoked or expires or its identity is deactivated, by this process or another; it may
        have ended before this call. With `EndReason.UNKNOWN` announcements may have been missed: authenticate the
        connection again and watch its session again. The callback runs in the event loop and must not block; its
        exceptions are logged.

        Returns a function that cancels the callback; call it when the connection closes. Raises `Busy` at 100,000
        callbacks.

        >>> cancel = sessions.on_ended(session.id, lambda reason: closing.set())  # doctest: +SKIP
        """
        return self._end_watch.add(session_id, callback)

    async def start(
        self,
        unit: Unit,
        identity: Identity,
        *,
        method: str,
        aal: Aal,
        client: Client,
        store: str | None,
        replacing: Session | None = None,
        amr: str | None = None,
        provider: str | None = None,
        kept: bool | None = None,
        locale: str | None = None,
        changed_at: datetime | None = None,
        waits_until: datetime | None = None,
        session_id: UUID | None = None,
        ends_at: datetime | None = None,
    ) -> IssuedSession:
        """Start a session for an identity that was just proven, with a new token.

        Args:
            amr: the method as clients read it, such as `code_recovery`; `method` where it is `None`.
            provider: the identity provider that proved the identity.
            replacing: the session that the caller presented, if any; it is revoked.
            kept: whether the person chose to be kept signed in; None where there was no choice.
            locale: the language that the person has chosen or asks for; only one that is offered is stored.
            changed_at: when the identity's profile changed last (`IssuedSession.since_change`); `updated_at` where it
                is None.
            waits_until: when the session ends unless `hand_over` gives it to its client before.
            session_id: the session's id; a new one where it is None.
            ends_at: when the proof ends, and the session with it; None for a proof that lasts.

        Where the identity has more sessions than it may have now, the oldest ones end.

        Raises `IdentityDisabled`.
        """
        if not identity.active:
            raise IdentityDisabled
        if replacing is not None:
            # A hook may end the identity's other sessions in this transaction. Were the replaced one locked apart from
            # them, two sign-ins that each replace a session of the other's identity would deadlock, in either order.
            those = rows.of_identity(identity.id) & rows.NOT_REVOKED | rows.with_id(replacing.id)
            await rows.lock_in_order(unit, those)
        proof = AuthenticationMethod(amr or method, aal, self._clock.now(), provider, ends_at)
        session = new_session(
            identity,
            proof,
            client=client,
            store=store,
            lifetimes=self._lifetimes,
            kept=kept,
            locale=locale,
            waits_until=waits_until,
            session_id=session_id,
        )
        token = new_token(self._prefix)
        most = self._lifetimes.most
        others = await rows.add(
            unit, session, token_hash=digest(token), count_to=most or 0, changed_at=changed_at or identity.updated_at
        )
        who = str(identity.id)
        told = {"session": str(session.id), "method": method}
        await self._note(unit, "session.started", identity.id, by=who, client=client, **told)
        if replacing is not None:
            await self._end_one(unit, replacing.id, replacing.identity.id, by=who, client=client)
        if most is not None and others.live >= most:
            await self._end_surplus(unit, identity.id, most=most, client=client)
        return IssuedSession(session, token, others.since_change)

    async def elevate(
        self,
        unit: Unit,
        session: Session,
        *,
        method: str,
        aal: Aal,
        amr: str | None = None,
        provider: str | None = None,
        client: Client,
        new_token: bool,
    ) -> ElevatedSession:
        """Add a proof to a session, which keeps its id; also where an identity is proven again.

        The session's AAL becomes the higher of both, and `authenticated_at` becomes now. A proof with the same method,
        AAL and provider replaces the earlier one. The session's expiry does not change.

        Args:
            amr: the method as clients read it; `method` where it is `None`.
            provider: the identity provider that proved the identity.
            new_token: `True` for browsers: issue a new token and refuse the old one from the commit on. `False` for
                native apps: the token stays valid, and none is returned.

        Raises `SessionInactive` where the session has ended meanwhile, and `IdentityDisabled`. The caller has checked
        that the proof is of the session's identity.
        """
        proof = AuthenticationMethod(amr or method, aal, self._clock.now(), provider)
        elevated = await self._elevation.elevate(unit, session.id, proof, new_token=new_token)
        owner = session.identity.id
        details = {"session": str(session.id), "method": method, "aal": elevated.session.aal.value}
        await self._note(unit, "session.elevated", owner, by=str(owner), client=client, **details)
        return elevated

    async def keep(self, unit: Unit, session: Session, *, new_token: bool) -> ElevatedSession:
        """Hold a session that changes its account, so that it cannot end meanwhile; with `new_token`, give it another
        token, and refuse the old one from the commit on. The caller has locked the identity.

        Raises `SessionInactive` where it has ended meanwhile.
        """
        return await self._elevation.keep(unit, session, new_token=new_token)

    async def hand_over(
        self, unit: Unit, session_id: UUID, *, client: Client, replacing: Session | None, is_new: bool
    ) -> IssuedSession:
        """Issue the token of a session that has waited for its client, which another client has started.

        A new session gets the client as its device, and its whole lifetime. One that the client had before gets
        another token. `replacing` is the session that the client presented; it is revoked, unless it is this one.

        Raises `SessionInactive` where the session has ended meanwhile, and `IdentityDisabled`.
        """
        ends = replacing if replacing is not None and replacing.id != session_id else None
        if ends is not None:
            await rows.lock_in_order(unit, rows.with_id(session_id) | rows.with_id(ends.id))
        session, now = await self._elevation.locked(unit, session_id), self._clock.now()
        if is_new:
            token = new_token(self._prefix)
            session = replace(
                session,
                devices=(device_of(client),),
                expires_at=self._lifetimes.expiry(
                    issued_at=session.issued_at, now=session.issued_at, kept=session.kept, ends_by=session.ends_by
                ),
                idle_ends_at=self._lifetimes.idle_end(now=now, kept=session.kept),
            )
            await rows.hand_over(unit, session, token_hash=digest(token))
            self._announce(unit, session_id)
        else:
            kept = await self._elevation.keep(unit, session, new_token=True)
            token = kept.token or ""
        who = session.identity.id
        await self._note(unit, "session.handed_over", who, by=str(who), client=client, session=str(session_id))
        if ends is not None:
            await self._end_one(unit, ends.id, ends.identity.id, by=str(who), client=client)
        return IssuedSession(session, token)

    async def lock(self, unit: Unit, session: Session) -> Session:
        """Lock a session until the unit ends, and return it as it is now.

        Raises `SessionInactive` where it has ended meanwhile, and `IdentityDisabled`.
        """
        return await self._elevation.locked(unit, session.id)

    def is_ours(self, token: str) -> bool:
        """Whether a token has the form of session tokens; nothing is looked up."""
        return token.startswith(self._prefix)

    async def resolve(self, token: str) -> CachedSession | None:
        """Return the session of a token, or None where the token is unknown or no longer valid."""
        resolved = await self._reader.lookup(token) if self.is_ours(token) else None
        return self._used(resolved) if resolved is not None else None

    def cached(self, token: str) -> CachedSession | None:
        """Return the session of a token if it is cached and valid; None says nothing about the token."""
        found = self._reader.cached(token) if self.is_ours(token) else None
        return self._used(found) if found is not None else None

    async def resolve_by_id(self, session_id: UUID) -> CachedSession | None:
        """Return a session by its id, or None where it is unknown or has ended. Asking is no use of the session."""
        found = await self._reader.lookup_by_id(session_id)
        return found if found is not None and found.valid_at(self._clock.now()) else None

    def announce(self, unit: Unit, *ids: UUID) -> None:
        """Announce to all processes, after the commit, that something with these ids has changed: not only sessions and
        identities have such ids, but also what is revoked with a token."""
        self._announce(unit, *ids)

    async def settle(self) -> None:
        """Wait until the uses of sessions so far are written."""
        await self._last_seen.settle()

    async def refresh(self, token: str, *, store: str, client: Client | None = None) -> IssuedSession:
        """Replace a token and return its successor for the same session.

        It opens a unit of its own: never call it inside a unit that has written. Raises `TokenInvalid`, also where
        refreshing is switched off.
        """
        if self._refresh is None or not self.is_ours(token):
            raise TokenInvalid
        return await self._refresh.refresh(token, store=store, client=client)

    async def get(self, unit: Unit, session_id: UUID) -> Session | None:
        """Return a session by its id, or None where it is unknown."""
        return await self._reader.get(unit, session_id)

    async def require(self, unit: Unit, session_id: UUID, *, stores: Sequence[str] | None = None) -> Session:
        """Return a session by its id. Raises `NotFound`, also where it began in none of `stores`."""
        session = await self.get(unit, session_id)
        if session is None or (stores is not None and session.store not in stores):
            raise NotFound
        return session

    async def list_for(
        self,
        unit: Unit,
        identity_id: UUID,
        *,
        active: bool | None = None,
        exclude: UUID | None = None,
        page_size: int = PAGE,
        after: UUID | None = None,
        skip: int = 0,
        stores: Sequence[str] | None = None,
    ) -> SessionPage:
        """Return a page of an identity's sessions, newest first; with `stores`, only those that began there."""
        return await self._reader.list_for(
            unit, identity_id, active=active, exclude=exclude, size=page_size, after=after, skip=skip, stores=stores
        )

    async def count_for(
        self,
        unit: Unit,
        identity_id: UUID,
        *,
        active: bool | None = None,
        exclude: UUID | None = None,
        stores: Sequence[str] | None = None,
    ) -> int:
        """Return the number of an identity's sessions; counting stops at 1,000."""
        own = rows.of_identity(identity_id, but=exclude, stores=stores)
        return await rows.count_of(unit, self._reader.chosen(own, active))

    async def list_all(
        self,
        unit: Unit,
        *,
        page_size: int = PAGE,
        after: UUID | None = None,
        active: bool | None = None,
        stores: Sequence[str] | None = None,
    ) -> SessionPage:
        """Return a page of all sessions, newest first; with `stores`, only those that began there."""
        return await self._reader.list_all(unit, active=active, size=page_size, after=after, stores=stores)

    async def extend(self, unit: Unit, session_id: UUID, *, by: str = "admin", client: Client | None = None) -> Session:
        """Extend a session to its whole lifespan if `earliest_extend` allows.

        One that has ended stays unchanged, and so does one in which an agent acts.

        Raises `NotFound`.
        """
        session, now = await self.require(unit, session_id), self._clock.now()
        if session.actor is not None or not session.valid_at(now) or not self._due(session, now):
            return session
        expires_at = self._lifetimes.expiry(
            issued_at=session.issued_at, now=now, kept=session.kept, ends_by=session.ends_by
        )
        await rows.set_expiry(unit, session_id, expires_at)
        await self._note(unit, "session.extended", session.identity.id, by=by, client=client, session=str(session_id))
        self._announce(unit, session_id)
        return replace(session, expires_at=expires_at)

    async def choose_locale(self, unit: Unit, session_id: UUID, locale: str) -> None:
        """Store the language that a session's person has chosen. Only offered languages are stored."""
        if storable(locale):
            await rows.set_locale(unit, session_id, locale)
            self._announce(unit, session_id)

    async def revoke(self, unit: Unit, session_id: UUID, *, by: str, client: Client | None = None) -> bool:
        """Revoke a session; revoking again changes nothing. Returns whether the session exists."""
        owner = await rows.owner_of(unit, session_id)
        if owner is None:
            return False
        await self._end_one(unit, session_id, owner, by=by, client=client)
        return True

    async def revoke_own(self, unit: Unit, current: Session, session_id: UUID, *, client: Client | None = None) -> None:
        """Revoke another session of the caller. One that is unknown or belongs to another identity is ignored.

        Raises `SessionIsCurrent` for the current session, which signing out ends, and `NotWhileImpersonating`.
        """
        refuse_impersonated(current)
        if session_id == current.id:
            raise SessionIsCurrent
        await self._end_one(unit, session_id, current.identity.id, by=str(current.identity.id), client=client)

    async def revoke_token(self, unit: Unit, token: str, *, client: Client | None = None) -> bool:
        """Revoke the session of a token. Returns whether the token is or was a session's."""
        session_id = await rows.id_of_token(unit, digest(token))
        owner = await rows.owner_of(unit, session_id) if session_id else None
        if session_id is None or owner is None:
            return False
        await self._end_one(unit, session_id, owner, by=str(owner), client=client)
        return True

    async def revoke_others(self, unit: Unit, current: Session, *, client: Client | None = None) -> int:
        """Revoke an identity's other sessions. Returns their number, including those ended before, as in Kratos.

        Raises `NotWhileImpersonating`.
        """
        refuse_impersonated(current)
        who, others = current.identity.id, rows.of_identity(current.identity.id, but=current.id)
        await self._end_all(unit, others, who, by=str(who), client=client)
        return await rows.count_of(unit, others)

    async def revoke_all(self, unit: Unit, identity_id: UUID, *, by: str, client: Client | None = None) -> int:
        """Revoke all sessions of an identity. Returns their number, including those ended before, as in Kratos."""
        every = rows.of_identity(identity_id)
        await self._end_all(unit, every, identity_id, by=by, client=client)
        return await rows.count_of(unit, every)

    async def delete_for(
        self,
        unit: Unit,
        identity_id: UUID,
        *,
        stores: Sequence[str] | None = None,
        by: str = "admin",
        client: Client | None = None,
    ) -> int:
        """Delete the sessions of an identity; with `stores`, only those of these stores.

        Raises `NotFound` where there are none.
        """
        chosen = rows.of_identity(identity_id, stores=stores)
        await self._revocation.end_acting(unit, chosen, by=by)
        removed = await rows.remove(unit, chosen)
        if not removed:
            raise NotFound(message="This identity has no sessions.")
        await self._note(unit, "session.revoked", identity_id, by=by, client=client, deleted=removed)
        self._announce(unit, identity_id)
        return removed

    async def end_many(
        self, unit: Unit, chosen: ChosenSessions, *, delete: bool, by: str, client: Client | None = None
    ) -> EndedSessions:
        """Revoke or delete at most 5,000 of the chosen sessions, and say whether there are more.

        Repeat the call while there are more. Sessions that are revoked already are skipped unless they are deleted.
        """
        ended = await ending.end(unit, chosen, delete=delete, revocation=self._revocation)
        name = "deleted" if delete else "count"
        await self._audit.record_each(
            unit,
            "session.revoked",
            outcome="success",
            actor=by,
            client_ip=client.ip if client else None,
            details={str(owner): {name: count} for owner, count in ended.by_identity.items()},
        )
        self._announce(unit, *ended.ids)
        return ended

    async def purge_expired(self, unit: Unit, before: datetime, batch: int) -> int:
        """Delete at most `batch` sessions that expired before `before` and can no longer be refreshed."""
        return await rows.remove_expired(unit, before=before - self._kept_longer, limit=batch)

    async def end_for(
        self,
        unit: Unit,
        identity_id: UUID,
        spare: UUID | None = None,
        *,
        by: str = "system",
        client: Client | None = None,
    ) -> None:
        """Revoke the sessions of an identity, except the session `spare`: earlier proofs are no longer valid.

        The caller has locked the identity.
        """
        others = rows.of_identity(identity_id, but=spare)
        await self._end_all(unit, others, identity_id, by=by, client=client, identity_locked=True)
        await self._revocation.end_agent(unit, identity_id)

    async def invalidate_identity(self, unit: Unit, identity_id: UUID) -> None:
        """Drop an identity's sessions from all caches after the commit, and end the impersonations that its groups
        allow no more. Call it wherever an identity changes."""
        await self._revocation.end_disallowed(unit, identity_id)
        self._announce(unit, identity_id)

    def logout_token(self, session: Session) -> str:
        """Return the token of a session's logout link, valid for this session only."""
        return self._logout.issue(session.id)

    def check_logout_token(self, session: Session, token: str) -> bool:
        """Whether a token is that of this session's logout link."""
        return self._logout.verify(session.id, token)

    def _used(self, resolved: CachedSession) -> CachedSession | None:
        """Return a session that is used now, or None where it has ended."""
        if not resolved.valid_at(self._clock.now()):
            return None
        if resolved.session.actor is None:
            self._last_seen.note(resolved.session)
        return resolved

    def _due(self, session: Session, now: datetime) -> bool:
        return self._earliest_extend is None or session.expires_at - self._earliest_extend < now

    async def _end_one(self, unit: Unit, session_id: UUID, owner: UUID, *, by: str, client: Client | None) -> None:
        """Revoke a session of this owner; one that has ended or belongs to another identity stays unchanged."""
        if await self._revocation.revoke(unit, rows.of_identity(owner) & rows.with_id(session_id), by=by):
            await self._note(unit, "session.revoked", owner, by=by, client=client, session=str(session_id))
        elif await rows.owner_of(unit, session_id) != owner:
            return
        self._announce(unit, session_id)

    async def _end_surplus(self, unit: Unit, owner: UUID, *, most: int, client: Client | None) -> None:
        """Revoke the oldest sessions of an identity that has more than it may have."""
        surplus = await self._revocation.revoke_surplus(unit, owner, most=most)
        if surplus:
            await self._note(
                unit, "session.revoked", owner, by="system", client=client, count=len(surplus), reason="limit"
            )
            self._announce(unit, *surplus)

    async def _end_all(
        self,
        unit: Unit,
        chosen: ColumnElement[bool],
        identity_id: UUID,
        *,
        by: str,
        client: Client | None,
        identity_locked: bool = False,
    ) -> int:
        """Revoke those of the sessions that are not, and return how many were."""
        if identity_locked:
            ended = await self._revocation.revoke_in_order(unit, chosen, by=by)
        else:  # a session that starts while this waits for a lock must end, too
            await rows.lock_in_order(unit, chosen & rows.NOT_REVOKED)
            ended = await self._revocation.revoke(unit, chosen, by=by)
        if ended:
            await self._note(unit, "session.revoked", identity_id, by=by, client=client, count=ended)
        self._announce(unit, identity_id)
        return ended

    def _announce(self, unit: Unit, *ids: UUID) -> None:
        """Also where nothing was changed: an earlier commit may have been made without its announcement."""
        unit.after_commit_or_doubt(lambda: self._cache.announce(ids))

    async def _note(
        self, unit: Unit, action: str, owner: UUID, *, by: str, client: Client | None, **details: str | int
    ) -> None:
        """Record an audit event. Its subject is the session's owner; the session's id is in the details."""
        await self._audit.record(
            unit,
            action,
            outcome="success",
            actor=by,
            subject=str(owner),
            client_ip=client.ip if client else None,
            details=details,
        )
