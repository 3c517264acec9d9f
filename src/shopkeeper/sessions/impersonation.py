"""Impersonation for support: an agent acts as a customer or a guest for some minutes, and everyone can see it.

Two things are needed to start one: an admin key that may impersonate, which the support tool holds, and the agent's own
session, which the tool passes on. Neither is enough without the other, and agents never have an admin key.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Protocol
from unicodedata import normalize
from uuid import UUID

from shopkeeper.client import Client
from shopkeeper.clock import Clock
from shopkeeper.crypto import KeyRing, Unsealable, digest, new_id, new_token
from shopkeeper.errors import InvalidInput, NotFound
from shopkeeper.identity.normalise import visible
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.parsing import uuid_or_none
from shopkeeper.sessions import impersonation_store as rows
from shopkeeper.sessions import store as session_rows
from shopkeeper.sessions.acting import Acting, Agents
from shopkeeper.sessions.assurance import AssurancePolicy
from shopkeeper.sessions.errors import ImpersonationRefused
from shopkeeper.sessions.impersonation_store import Impersonation, Kind
from shopkeeper.sessions.service import TOKEN_PREFIX, Sessions
from shopkeeper.sessions.values import Actor, AuthenticationMethod, Session
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.database import Database, Unit
from shopkeeper.storage.text_limits import storable
from shopkeeper.tally import Tally
from shopkeeper.tokens.sealed import SealedTokens

METHOD: Final = "impersonation"
"""The authentication method of the session, as clients read it."""
PURPOSE: Final = "impersonation links"
LINK_LIFESPAN: Final = timedelta(minutes=1)

Announced = Callable[[Unit, Impersonation, Identity], Awaitable[None]]
"""Called in the transaction that starts the impersonation of a customer: to tell the customer."""


class Budget(Protocol):
    """Counts attempts of a source."""

    async def spend(self, source: str) -> None:
        """Count one. Raises `TooManyRequests`."""
        ...


class PlacedOrder(Protocol):
    """An order, as far as it concerns who placed it."""

    @property
    def number(self) -> str: ...

    @property
    def placed_at(self) -> datetime | None: ...

    @property
    def placed_by(self) -> str | None:
        """The agent, as `Actor.subject`; None where the customer did."""
        ...


@dataclass(frozen=True, slots=True)
class ImpersonationRules:
    """Who may act as whom, and for how long.

    Args:
        lifespan: how long it lasts at most.
        agents: who may act.
        protected_groups: the groups whose members are never impersonated. Agents never are, either.
    """

    lifespan: timedelta
    agents: Agents
    protected_groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a support tool asks for.

    Args:
        key: the id of the tool's admin key.
        key_stores: the stores that the key is limited to; None for all.
        session_token: the agent's session.
        agent: the name of an agent without a session here.
        reason: why; the audit trail keeps it, and the customer does not see it.
    """

    key: str
    store: str
    reason: str
    client: Client
    session_token: str | None = field(default=None, repr=False)
    agent: str | None = None
    key_stores: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class StartedImpersonation:
    """A new impersonation. `token` is that of the session or visit; `link` is sealed, and works once in a browser."""

    impersonation: Impersonation
    token: str = field(repr=False)
    link: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class UsedLink:
    """What a browser gets that has followed a link."""

    impersonation: Impersonation
    token: str = field(repr=False)


class Impersonations:
    """Starts, lists and ends impersonations.

    Args:
        acting: ends them, and says whether they go on.
        assurance: an agent needs the second factor that the agent's identity has.
        budget: limits how often one agent starts.
        keys: seal the links of browsers.
        announced: called for each customer who is impersonated; None where they are not told.
    """

    def __init__(
        self,
        *,
        database: Database,
        identities: Identities,
        sessions: Sessions,
        sealed: SealedTokens,
        acting: Acting,
        rules: ImpersonationRules,
        assurance: AssurancePolicy,
        budget: Budget,
        keys: KeyRing,
        clock: Clock,
        audit: Audit,
        tally: Tally,
        announced: Announced | None = None,
    ) -> None:
        self._database, self._identities, self._sessions, self._sealed = database, identities, sessions, sealed
        self._acting, self._rules, self._assurance = acting, rules, assurance
        self._budget, self._keys, self._clock = budget, keys, clock
        self._audit, self._tally, self._announced = audit, tally, announced

    async def start(self, identity_id: UUID, asked: Asked) -> StartedImpersonation:
        """Start an impersonation of a customer, in a unit of its own.

        One that the same agent has of this customer in the store ends, so that a repeated request leaves one. Raises
        `ImpersonationRefused`, `InvalidInput`, `NotFound` or `TooManyRequests`.
        """
        agent = await self._agent(asked)
        async with self._database.unit() as unit:
            actor = await self._locked(unit, asked, agent)
            customer = await self._customer(unit, identity_id, asked, actor)
            new = self._new(asked, actor, agent, kind=Kind.CUSTOMER, identity_id=customer.id)
            token = await self._add_session(unit, new, customer)
            await self._add(unit, new, asked.client)
            if self._announced is not None:
                await self._announced(unit, new, customer)
        return self._started(new, token)

    async def start_as_guest(self, guest_id: UUID, asked: Asked) -> StartedImpersonation:
        """Start an impersonation of a guest, under the rules of `start`."""
        agent = await self._agent(asked)
        async with self._database.unit() as unit:
            actor = await self._locked(unit, asked, agent)
            new = self._new(asked, actor, agent, kind=Kind.GUEST, guest_id=guest_id)
            await self._add(unit, new, asked.client)
        issued = self._sealed.issue_for_agent(
            store=new.store, guest=guest_id, impersonation=new.id, expires_at=new.expires_at
        )
        return self._started(new, issued.text)

    async def page(
        self,
        unit: Unit,
        *,
        active: bool | None,
        identity_id: UUID | None,
        agent_id: UUID | None,
        stores: Sequence[str] | None,
        after: UUID | None,
        limit: int,
    ) -> list[Impersonation]:
        """Return impersonations, newest first; `active` restricts them to those that go on, or to the others."""
        return await rows.page(
            unit,
            now=self._clock.now(),
            active=active,
            identity_id=identity_id,
            agent_id=agent_id,
            stores=stores,
            after=after,
            limit=limit,
        )

    async def require(self, unit: Unit, id_: UUID, *, stores: Sequence[str] | None = None) -> Impersonation:
        """Return an impersonation. Raises `NotFound`, also where it is in none of `stores`."""
        found = await rows.find(unit, id_)
        if found is None or (stores is not None and found.store not in stores):
            raise NotFound
        return found

    async def end(self, unit: Unit, id_: UUID, *, by: str, client: Client | None = None) -> None:
        """End an impersonation; one that has ended stays so. Raises `NotFound`."""
        found = await self.require(unit, id_)
        if found.kind is Kind.CUSTOMER:
            await self._sessions.revoke(unit, id_, by=by, client=client)
        else:
            await self._acting.end(unit, rows.with_id(id_), by=by)

    async def follow_link(self, unit: Unit, link: str) -> UsedLink:
        """Use a link up, and return the token that the browser gets. Raises `NotFound` where it is used or too old."""
        id_, token = self._opened(link)
        now = self._clock.now()
        used = await rows.use_link(unit, id_, at=now, issued_after=now - LINK_LIFESPAN)
        if used is None:
            raise NotFound("This link was used before, or is too old: start the impersonation again.")
        return UsedLink(used, token)

    async def record_order(self, impersonation_id: UUID, placed: PlacedOrder, unit: Unit | None) -> None:
        """Record an order that was placed in an impersonation, once, however often this is called.

        An order of the customer, or of an earlier impersonation, is left alone.

        Args:
            unit: the unit in which the order was placed; None opens one.
        """
        if unit is not None:
            await self._record_order(unit, impersonation_id, placed)
            return
        async with self._database.unit() as own:
            await self._record_order(own, impersonation_id, placed)

    async def _record_order(self, unit: Unit, impersonation_id: UUID, placed: PlacedOrder) -> None:
        found = await self.require(unit, impersonation_id)
        if placed.placed_by != found.actor.subject or placed.placed_at is None or placed.placed_at < found.started_at:
            return
        if await rows.add_order(unit, found.id, placed.number):
            await self._note(unit, "impersonation.order_placed", found, client=None, order=placed.number)
            self._tally.count("impersonations", "order")

    async def _agent(self, asked: Asked) -> Session | None:
        """Return the agent's session; None for a named agent. Counts the attempt."""
        if not asked.reason.strip() or len(asked.reason) > rows.LONGEST_REASON or not storable(asked.reason):
            raise InvalidInput(f"'reason' must say why, in at most {rows.LONGEST_REASON} characters.")
        if asked.session_token is None:
            await self._budget.spend(f"{asked.key}/{self._named(asked)}")
            return None
        cached = await self._sessions.resolve(asked.session_token)
        if cached is None:
            raise self._refused("The agent's session has ended: the agent has to sign in again.")
        await self._budget.spend(str(cached.session.identity.id))
        return cached.session

    def _named(self, asked: Asked) -> str:
        name = (asked.agent or "").strip()
        if not self._rules.agents.named:
            raise self._refused("Send the agent's session token in 'session_token'; keys may not name agents here.")
        if not name or len(name) > rows.LONGEST_NAME or not storable(name):
            raise InvalidInput(f"'agent' must name the agent, in at most {rows.LONGEST_NAME} characters.")
        if visible(name) != name:
            raise InvalidInput("'agent' must have no invisible and no direction characters. It is shown as who acted.")
        if _looks_like_a_subject(name):
            raise InvalidInput("'agent' must be a name: no id, and nothing with a colon. It is shown as who acted.")
        return name

    async def _locked(self, unit: Unit, asked: Asked, agent: Session | None) -> Actor:
        """Return the agent, whose identity and session are locked: what ends the session waits, or has ended it."""
        if agent is None:
            return Actor(key=asked.key, name=self._named(asked))
        if agent.actor is not None:
            raise self._refused("An agent who acts for a customer cannot act for another one at once.")
        if not agent.at_home_in(asked.store):
            raise self._refused("The agent's session belongs to another store.")
        if not self._assurance.satisfied_by(agent, required="highest_available"):
            raise self._refused("The agent has a second factor, and has to sign in with it first.")
        identity = await self._identities.lock(unit, agent.identity.id)
        live = await session_rows.hold(unit, agent.id, now=self._clock.now(), token_hash=None)
        if not identity.active or not live:
            raise self._refused("The agent's session has ended: the agent has to sign in again.")
        if not self._rules.agents.include(identity):
            raise self._refused("This account may not act for customers (impersonation.agents, agent_groups).")
        return Actor(key=asked.key, identity_id=identity.id, session_id=agent.id)

    async def _customer(self, unit: Unit, identity_id: UUID, asked: Asked, actor: Actor) -> Identity:
        customer = await self._identities.require(unit, identity_id)
        if asked.key_stores is not None:
            known = session_rows.of_identity(customer.id, stores=asked.key_stores)
            if not await session_rows.count_of(unit, known):
                raise NotFound
        if customer.id == actor.identity_id:
            raise self._refused("Agents cannot act for themselves.")
        if not customer.active:
            raise self._refused("The customer's account is disabled.")
        if self._rules.agents.include(customer):
            raise self._refused("This account belongs to an agent, and agents are never impersonated.")
        if not self._rules.protected_groups.isdisjoint(customer.groups):
            raise self._refused("This account is protected (impersonation.protected_groups).")
        return customer

    def _new(
        self,
        asked: Asked,
        actor: Actor,
        agent: Session | None,
        *,
        kind: Kind,
        identity_id: UUID | None = None,
        guest_id: UUID | None = None,
    ) -> Impersonation:
        now = self._clock.now()
        until = now + self._rules.lifespan
        return Impersonation(
            id=new_id(),
            kind=kind,
            store=asked.store,
            identity_id=identity_id,
            guest_id=guest_id,
            actor=actor,
            reason=asked.reason.strip(),
            started_at=now,
            expires_at=until if agent is None else min(until, agent.expires_at),
        )

    async def _add_session(self, unit: Unit, new: Impersonation, customer: Identity) -> str:
        """Store the session in which the agent acts: one factor's worth, without a device of the customer's."""
        token = new_token(TOKEN_PREFIX)
        session = Session(
            id=new.id,
            identity=replace(customer, credentials={}),
            active=True,
            aal=Aal.AAL1,
            authentication_methods=(AuthenticationMethod(METHOD, Aal.AAL1, new.started_at),),
            authenticated_at=new.started_at,
            issued_at=new.started_at,
            expires_at=new.expires_at,
            devices=(),
            store=new.store,
            kept=False,
            actor=new.actor,
        )
        await session_rows.add(unit, session, token_hash=digest(token), count_to=0, changed_at=new.started_at)
        return token

    async def _add(self, unit: Unit, new: Impersonation, client: Client) -> None:
        for each in await rows.open_ones(unit, rows.alike(new), now=new.started_at):
            await self.end(unit, each.id, by=f"admin:{new.actor.key}")
        await rows.add(unit, new)
        until = new.expires_at.isoformat()
        await self._note(unit, "impersonation.started", new, client=client, reason=new.reason, until=until)
        self._tally.count("impersonations", "started")

    def _started(self, new: Impersonation, token: str) -> StartedImpersonation:
        sealed = self._keys.seal_text(new.id.bytes + token.encode(), context=PURPOSE.encode())
        return StartedImpersonation(new, token, sealed)

    def _opened(self, link: str) -> tuple[UUID, str]:
        try:
            opened = self._keys.open_text(link, context=PURPOSE.encode())
        except Unsealable as broken:
            raise NotFound("This link is not one of ours.") from broken
        return UUID(bytes=opened[:16]), opened[16:].decode()

    def _refused(self, reason: str) -> ImpersonationRefused:
        self._tally.count("impersonations", "refused")
        return ImpersonationRefused(reason)

    async def _note(
        self, unit: Unit, action: str, about: Impersonation, *, client: Client | None, **details: str | datetime
    ) -> None:
        """Record an audit event by the agent. Its subject is the customer or guest."""
        told = {"impersonation": str(about.id), "kind": about.kind.value, "store": about.store, **details}
        await self._audit.record(
            unit,
            action,
            outcome="success",
            actor=about.actor.subject,
            subject=about.subject,
            client_ip=client.ip if client else None,
            details={**told, "key": about.actor.key},
        )


def _looks_like_a_subject(name: str) -> bool:
    """Whether a name could be taken for an identity's id, or for a key with a name, in whatever width and dashes."""
    plain = normalize("NFKC", name)
    return ":" in plain or uuid_or_none("".join(filter(str.isalnum, plain))) is not None
