"""Identities: made, read, found, changed and removed. Whoever asks, traits are checked against their schema here, and
identifiers and addresses follow the traits.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from shopkeeper.clock import Clock
from shopkeeper.crypto import new_id
from shopkeeper.errors import BadRequest, NotFound
from shopkeeper.identity import store
from shopkeeper.identity.document import patched
from shopkeeper.identity.draft import WRITTEN_VERSIONS, Drafting, NewIdentity, incognito
from shopkeeper.identity.normalise import LONGEST, normalise_identifier
from shopkeeper.identity.schema import Schemas
from shopkeeper.identity.storable import unstorable
from shopkeeper.identity.traits import IDENTIFYING
from shopkeeper.identity.values import AddressStatus, Credential, Identity, Via
from shopkeeper.storage.database import Unit

DEFAULT_PAGE = 250
MOST_ON_A_PAGE = 500

FIRST_FACTORS = ("code", "oidc", "passkey", "password")
REMOVABLE = ("lookup_secret", "oidc", "passkey", "password", "totp", "webauthn")

Listener = Callable[[Unit, UUID], Awaitable[None]]
"""Told of each change of an identity, inside the unit that makes it: to drop what was remembered about it."""


class AuditTrail(Protocol):
    """Where changes are recorded. `storage.audit.Audit` is one."""

    async def record(
        self,
        unit: Unit,
        action: str,
        *,
        outcome: str,
        actor: str,
        subject: str | None,
        client_ip: str | None,
        details: Mapping[str, Any] = ...,
        always: bool = ...,
    ) -> None: ...


class Identities:
    """The accounts of the house.

    >>> identity = await identities.create(unit, NewIdentity(traits={"email": "ada@example.org"}))  # doctest: +SKIP
    >>> await identities.find_by_identifier(unit, type="password", identifier="ADA@example.org")  # doctest: +SKIP

    Args:
        schemas: the schemas of the traits.
        clock: tells the time.
        audit: where every change is recorded, if anywhere.
        listeners: told of each change.
        on_void: told where what was proven before counts no more: another password or none, an account that is
            switched off.
        on_deleted: told where an identity is gone: for whoever keeps something about it elsewhere.
        ids: makes ids.
    """

    def __init__(
        self,
        schemas: Schemas,
        *,
        clock: Clock,
        audit: AuditTrail | None = None,
        listeners: Sequence[Listener] = (),
        on_void: Sequence[Listener] = (),
        on_deleted: Sequence[Listener] = (),
        ids: Callable[[], UUID] = new_id,
    ) -> None:
        self.schemas = schemas
        self._clock = clock
        self._audit = audit
        self._listeners = listeners
        self._on_void = on_void
        self._on_deleted = on_deleted
        self._ids = ids

    async def create(
        self, unit: Unit, new: NewIdentity, *, actor: str = "system", client_ip: str | None = None
    ) -> Identity:
        """Makes an identity. Raises `InvalidInput` (`InvalidTraits`), and `Conflict` where an identifier is taken.

        After a `Conflict` the unit has to end in an exception: what was written before it must not be committed.
        """
        identity = self._drafted(new, before=None)
        with store.uniqueness():
            await store.insert_identity(unit, identity)
        await self._record(
            unit,
            "identity.created",
            identity.id,
            actor=actor,
            client_ip=client_ip,
            details={"schema_id": identity.schema_id},
        )
        return identity

    async def pretend(self, unit: Unit, new: NewIdentity) -> Identity:
        """An identity that looks as if it had been made, and was not: for answers that may not tell that an identifier
        is taken. It costs the work of making one, so that time does not tell it either. Raises like `create`.
        """
        identity = self._drafted(new, before=None)
        await store.insert_identity(unit, incognito(identity))
        await store.delete_identity(unit, identity.id)
        return identity

    async def remember_claim(self, unit: Unit, owner: UUID, *, client_ip: str | None) -> None:
        """Writes down that somebody wanted to register what is this identity's, whatever becomes of the unit."""
        if self._audit is not None:
            await self._audit.record(
                unit,
                "registration.refused",
                outcome="refused",
                actor="anonymous",
                subject=str(owner),
                client_ip=client_ip,
                details={"reason": "taken"},
                always=True,
            )

    async def get(self, unit: Unit, identity_id: UUID, *, credentials: bool = False) -> Identity | None:
        """The identity, if there is one; its credentials only when asked for."""
        return await self._one(unit, store.by_id(identity_id), credentials=credentials)

    async def require(self, unit: Unit, identity_id: UUID, *, credentials: bool = False) -> Identity:
        """The identity. Raises `NotFound`."""
        return _there(await self.get(unit, identity_id, credentials=credentials))

    async def get_many(
        self, unit: Unit, ids: Collection[UUID], *, credentials: bool = False
    ) -> Mapping[UUID, Identity]:
        """Those of the identities that there are, by id, in one go."""
        found = await store.load(unit, store.by_ids(ids), with_credentials=credentials)
        return {identity.id: identity for identity in found}

    async def find_by_identifier(self, unit: Unit, *, type: str, identifier: str) -> Identity | None:  # noqa: A002 - the contract's word
        """Who signs in with this identifier, however it is spelt, with credentials. Takes as long for nobody."""
        return await self._one(unit, store.by_identifier(type, _key(identifier)), credentials=True)

    async def find_by_address(self, unit: Unit, *, via: Via, value: str) -> Identity | None:
        """Who has this address, normalised as the schema has it, without credentials. Takes as long for nobody."""
        return await self._one(unit, store.by_address(via, _queryable(value)), credentials=False)

    async def find_by_external_id(self, unit: Unit, external_id: str, *, credentials: bool = False) -> Identity | None:
        """The identity that the caller's own system knows under this id."""
        return await self._one(unit, store.by_external_id(_queryable(external_id)), credentials=credentials)

    async def list_(
        self,
        unit: Unit,
        *,
        page_size: int = DEFAULT_PAGE,
        after: UUID | None = None,
        ids: Collection[UUID] | None = None,
        credentials_identifier: str | None = None,
    ) -> tuple[Sequence[Identity], UUID | None]:
        """A page of identities with their credentials, and what to pass as `after` for the next, if there is one.

        A page has at most `MOST_ON_A_PAGE`; those of `ids` come all at once. Raises `BadRequest` for two filters at
        once or too many ids.
        """
        if ids is not None and credentials_identifier is not None:
            raise BadRequest("Only one filter can be used at a time: 'ids' or 'credentials_identifier'.")
        if ids is not None and len(ids) > MOST_ON_A_PAGE:
            raise BadRequest(f"'ids' takes {MOST_ON_A_PAGE} ids at most.")
        if ids is not None:
            return (await store.load(unit, store.by_ids(ids), with_credentials=True) if ids else []), None
        size = min(max(page_size, 1), MOST_ON_A_PAGE)
        known = None if credentials_identifier is None else _key(credentials_identifier)
        found = await store.page_of_ids(unit, size=size + 1, after=after, identifier=known)
        page = found[:size]
        loaded = await store.load(unit, store.by_ids(page), with_credentials=True) if page else []
        return loaded, page[-1] if len(found) > size else None

    async def replace(
        self,
        unit: Unit,
        identity_id: UUID,
        new: NewIdentity,
        *,
        actor: str = "system",
        client_ip: str | None = None,
    ) -> Identity:
        """Puts other traits, state and metadata in place of those there are. Credentials not named are kept.

        Addresses that stay the same stay verified. Raises `NotFound`, `InvalidInput` and `Conflict`.
        """
        before = await self.hold(unit, identity_id)
        return await self._change(unit, before, new, actor=actor, client_ip=client_ip)

    async def patch(
        self,
        unit: Unit,
        identity_id: UUID,
        operations: Sequence[Mapping[str, Any]],
        *,
        actor: str = "system",
        client_ip: str | None = None,
    ) -> Identity:
        """Applies a JSON Patch (RFC 6902). Raises `NotFound`, `BadRequest` (`InvalidInput`) and `Conflict`."""
        before = await self.hold(unit, identity_id)
        return await self._change(unit, before, patched(before, operations), actor=actor, client_ip=client_ip)

    async def delete(
        self, unit: Unit, identity_id: UUID, *, actor: str = "system", client_ip: str | None = None
    ) -> None:
        """Removes the identity and all that is its own. Raises `NotFound`."""
        if not await store.delete_identity(unit, identity_id):
            raise NotFound(message=_NO_IDENTITY)
        await self._changed(unit, "identity.deleted", identity_id, actor=actor, client_ip=client_ip, details={})
        for listener in self._on_deleted:
            await listener(unit, identity_id)

    async def delete_credential(
        self,
        unit: Unit,
        identity_id: UUID,
        type: str,  # noqa: A002 - the contract's word
        *,
        actor: str = "system",
        client_ip: str | None = None,
    ) -> None:
        """Takes a credential away, and what was proven with it. Raises `NotFound`, and `BadRequest` for the last way to
        sign in."""
        before = await self.hold(unit, identity_id)
        credential = before.credentials.get(type)
        if credential is None:
            raise NotFound("The account has no credential of this type.")
        _refuse_unremovable(before, type)
        after = replace(before, credentials=_without(before.credentials, credential, now=self._clock.now()))
        await store.update_identity(unit, before, after)
        await self._changed(
            unit, "identity.credential_deleted", identity_id, actor=actor, client_ip=client_ip, details={"type": type}
        )
        await self._tell_void(unit, before, after)

    async def set_credential_config(
        self,
        unit: Unit,
        identity_id: UUID,
        type: str,  # noqa: A002 - the contract's word
        config: Mapping[str, Any],
        *,
        actor: str = "system",
        client_ip: str | None = None,
    ) -> None:
        """Stores a method's own data, such as a new hash. Raises `NotFound` where there is no such identity."""
        now = self._clock.now()
        credential = Credential(type, (), config, WRITTEN_VERSIONS.get(type, 0), now, now)
        if not await store.put_credential(unit, identity_id, credential):
            raise NotFound(message=_NO_IDENTITY)
        await self._record(
            unit, "identity.credential_set", identity_id, actor=actor, client_ip=client_ip, details={"type": type}
        )

    async def mark_address(
        self,
        unit: Unit,
        address_id: UUID,
        status: AddressStatus,
        *,
        actor: str = "system",
        client_ip: str | None = None,
    ) -> None:
        """Sets how far the verification of an address has come; `completed` verifies it. Raises `NotFound`."""
        now = self._clock.now()
        at = now if status is AddressStatus.COMPLETED else None
        owner = await store.mark_address(unit, address_id, status=status, verified_at=at, now=now)
        if owner is None:
            raise NotFound("There is no address of this id.")
        await self._changed(
            unit, "identity.address_marked", owner, actor=actor, client_ip=client_ip, details={"status": status.value}
        )

    async def _change(
        self, unit: Unit, before: Identity, new: NewIdentity, *, actor: str, client_ip: str | None
    ) -> Identity:
        after = self._drafted(new, before=before)
        with store.uniqueness():
            await store.update_identity(unit, before, after)
        details = {"changed": _differences(before, after)}
        await self._changed(unit, "identity.updated", after.id, actor=actor, client_ip=client_ip, details=details)
        await self._tell_void(unit, before, after)
        return after

    async def _tell_void(self, unit: Unit, before: Identity, after: Identity) -> None:
        for listener in self._on_void if _void(before, after) else ():
            await listener(unit, after.id)

    def _drafted(self, new: NewIdentity, *, before: Identity | None) -> Identity:
        schema = self.schemas.require(new.schema_id or (before.schema_id if before else None))
        schema.require_valid(new.traits)
        drafting = Drafting(now=self._clock.now(), new_id=self._ids, before=before)
        return drafting.identity(new, schema_id=schema.id, extracted=schema.extract(new.traits))

    async def _one(self, unit: Unit, which: store.Which, *, credentials: bool) -> Identity | None:
        found = await store.load(unit, which, with_credentials=credentials)
        return found[0] if found else None

    async def hold(self, unit: Unit, identity_id: UUID) -> Identity:
        """The identity with credentials, held until the unit ends, so that two changes do not undo each other.

        Raises `NotFound`.
        """
        await unit.begin()
        found = await store.load(unit, store.by_id(identity_id), with_credentials=True, lock=True)
        return _there(found[0] if found else None)

    async def _changed(
        self,
        unit: Unit,
        action: str,
        identity_id: UUID,
        *,
        actor: str,
        client_ip: str | None,
        details: Mapping[str, Any],
    ) -> None:
        await self._record(unit, action, identity_id, actor=actor, client_ip=client_ip, details=details)
        for listener in self._listeners:
            await listener(unit, identity_id)

    async def _record(
        self,
        unit: Unit,
        action: str,
        identity_id: UUID,
        *,
        actor: str,
        client_ip: str | None,
        details: Mapping[str, Any],
    ) -> None:
        if self._audit is not None:
            await self._audit.record(
                unit,
                action,
                outcome="success",
                actor=actor,
                subject=str(identity_id),
                client_ip=client_ip,
                details=details,
            )


_NO_IDENTITY = "There is no account of this id."


def _there(identity: Identity | None) -> Identity:
    if identity is None:
        raise NotFound(message=_NO_IDENTITY)
    return identity


def _key(identifier: str) -> str:
    return _queryable(normalise_identifier(identifier) if len(identifier) <= LONGEST else "")


def _queryable(text: str) -> str:
    """What no row can hold is asked for as nothing: the database would refuse the question itself."""
    return "" if unstorable(text) else text


def _refuse_unremovable(identity: Identity, type_: str) -> None:
    if type_ not in REMOVABLE:
        raise BadRequest("A credential of this type cannot be removed by itself.")
    if not identity.credentials[type_].config:
        raise NotFound("The account has no credential of this type.")
    left = [other for other in FIRST_FACTORS if other != type_ and _usable(identity.credentials.get(other))]
    if type_ in FIRST_FACTORS and not left:
        raise BadRequest("This is the last way to sign in to the account: add another before removing it.")


def _usable(credential: Credential | None) -> bool:
    return credential is not None and bool(credential.config)


def _without(credentials: Mapping[str, Credential], gone: Credential, *, now: datetime) -> dict[str, Credential]:
    """An identifier from the traits stays reserved: nobody else may take it over with the password that is removed."""
    left = {type_: credential for type_, credential in credentials.items() if type_ != gone.type}
    if gone.type in IDENTIFYING and gone.identifiers:
        left[gone.type] = replace(gone, config={}, updated_at=now)
    return left


def _void(before: Identity, after: Identity) -> bool:
    """Whether somebody who signed in before the change may be somebody who could not do it after."""
    replaced = any(
        type_ not in after.credentials or after.credentials[type_].config != credential.config
        for type_, credential in before.credentials.items()
    )
    return replaced or (before.active and not after.active)


def _differences(before: Identity, after: Identity) -> list[str]:
    """The names of what has changed, for the record; the values are nobody's business there."""
    names = ("schema_id", "state", "traits", "metadata_public", "metadata_admin", "external_id", "credentials")
    return [name for name in names if getattr(before, name) != getattr(after, name)]
