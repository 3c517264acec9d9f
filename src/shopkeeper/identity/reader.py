"""Reads identities: by id, identifier, address or external id, and page by page."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from shopkeeper.errors import BadRequest, NotFound
from shopkeeper.identity import selectors
from shopkeeper.identity.search import EVERYONE, IdentitySearch, Referring, ids_within, page_of_ids
from shopkeeper.identity.store import IdentityStore, Selector
from shopkeeper.identity.unique_names import UniqueNames, lookup_key, queryable
from shopkeeper.identity.values import Identity, Via
from shopkeeper.storage.database import Unit

DEFAULT_PAGE = 250
MOST_ON_A_PAGE = 500
NO_IDENTITY = "There is no account of this id."


class IdentityReader:
    """Reads and locks identities. `service.Identities` adds the changes."""

    def __init__(self, store: IdentityStore) -> None:
        self._store = store

    async def get(self, unit: Unit, identity_id: UUID, *, credentials: bool = False) -> Identity | None:
        """Return an identity, or None where it is unknown; with its credentials only on request."""
        return await self._one(unit, selectors.by_id(identity_id), credentials=credentials)

    async def require(self, unit: Unit, identity_id: UUID, *, credentials: bool = False) -> Identity:
        """Return an identity. Raises `NotFound`."""
        return _there(await self.get(unit, identity_id, credentials=credentials))

    async def get_many(
        self, unit: Unit, ids: Collection[UUID], *, credentials: bool = False
    ) -> Mapping[UUID, Identity]:
        """Return the identities that exist among these ids, by id."""
        found = await self._store.load(unit, selectors.by_ids(ids), with_credentials=credentials)
        return {identity.id: identity for identity in found}

    async def find_by_identifier(self, unit: Unit, *, type: str, identifier: str) -> Identity | None:  # noqa: A002 - the contract's word
        """Return the identity with this identifier, with credentials, or None. Any spelling of it is found.

        An unknown identifier takes as long as a known one.
        """
        return await self._one(unit, selectors.by_identifier(type, lookup_key(identifier)), credentials=True)

    async def find_by_exact_identifiers(
        self,
        unit: Unit,
        *,
        type: str,  # noqa: A002 - the contract's word
        identifiers: Collection[str],
        digest: bytes | None = None,
    ) -> Sequence[Identity]:
        """Return the identities with one of these identifiers, with credentials; compared as they are stored.

        `digest` finds one by what an identifier stands for, too (`CredentialFacts.digests`).
        """
        selector = selectors.by_exact_identifiers(type, identifiers, digest=digest)
        return await self._store.load(unit, selector, with_credentials=True)

    async def find_by_address(self, unit: Unit, *, via: Via, value: str) -> Identity | None:
        """Return the identity with this address, without credentials, or None. The address must be normalised.

        An unknown address takes as long as a known one.
        """
        return await self._one(unit, selectors.by_address(via, queryable(value)), credentials=False)

    async def find_owner(
        self,
        unit: Unit,
        names: UniqueNames,
        *,
        reserved: Collection[str] = (),
        reserved_since: datetime | None = None,
    ) -> Identity | None:
        """Return the identity with one of these identifiers, else the one with one of these addresses, with
        credentials, or None.

        `reserved_since`: else the one that one of the mailboxes `reserved` was taken from by a change since this
        moment. All are looked up in one query in every case, so that the time reveals nothing.
        """
        selector = selectors.by_unique_names(names, reserved=reserved, reserved_since=reserved_since)
        return names.first_owner(await self._store.load(unit, selector, with_credentials=True))

    async def find_for_recovery(self, unit: Unit, *, via: Via, value: str, since: datetime) -> Identity | None:
        """Return the identity that this address can recover, without credentials, or None. The address must be
        normalised.

        The identity that has the address comes before one that had it. `since`: earlier changes of addresses do not
        count. An unknown address takes as long as a known one.
        """
        selector = selectors.for_recovery(via, queryable(value), since)
        found = await self._store.load(unit, selector, with_credentials=False)
        has_it = [each for each in found if any((a.via, a.value) == (via, value) for a in each.recovery_addresses)]
        return next(iter((*has_it, *found)), None)

    async def find_by_external_id(self, unit: Unit, external_id: str, *, credentials: bool = False) -> Identity | None:
        """Return the identity with this id of the shop's own system, or None."""
        return await self._one(unit, selectors.by_external_id(queryable(external_id)), credentials=credentials)

    async def list_(
        self,
        unit: Unit,
        *,
        search: IdentitySearch = EVERYONE,
        page_size: int = DEFAULT_PAGE,
        after: str | None = None,
    ) -> tuple[Sequence[Identity], str | None]:
        """Return a page of the identities that match, with their credentials, and the `after` of the next page.

        It is None on the last page. A page has at most `MOST_ON_A_PAGE` identities; one before the last may be short,
        where little is found (`search.py`). Raises `InvalidCursor`.
        """
        size = min(max(page_size, 1), MOST_ON_A_PAGE)
        found = await page_of_ids(unit, search, size=size, after=after)
        loaded = await self.get_many(unit, found.ids, credentials=True) if found.ids else {}
        return [loaded[each] for each in found.ids if each in loaded], found.next_after

    async def list_by_ids(
        self, unit: Unit, ids: Collection[UUID], *, within: Referring | None = None
    ) -> Sequence[Identity]:
        """Return the identities that exist among these ids, with their credentials, in the order of their ids.

        Args:
            within: returns only those that these rows refer to.

        Raises `BadRequest` for too many ids.
        """
        if len(ids) > MOST_ON_A_PAGE:
            raise BadRequest(f"'ids' takes {MOST_ON_A_PAGE} ids at most.")
        if within is not None and ids:
            ids = await ids_within(unit, ids, within)
        return await self._store.load(unit, selectors.by_ids(ids), with_credentials=True) if ids else []

    async def lock(self, unit: Unit, identity_id: UUID) -> Identity:
        """Lock an identity until the unit ends, and read it under the lock, with credentials.

        The lock keeps concurrent changes from undoing each other. It opens the transaction. Raises `NotFound`.
        """
        await unit.begin()
        found = await self._store.load(unit, selectors.by_id(identity_id), with_credentials=True, lock=True)
        return _there(found[0] if found else None)

    async def _one(self, unit: Unit, selector: Selector, *, credentials: bool) -> Identity | None:
        found = await self._store.load(unit, selector, with_credentials=credentials)
        return found[0] if found else None


def _there(identity: Identity | None) -> Identity:
    if identity is None:
        raise NotFound(message=NO_IDENTITY)
    return identity
