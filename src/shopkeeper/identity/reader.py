"""Reads identities: by id, identifier, address or external id, and page by page."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from shopkeeper.errors import BadRequest, NotFound
from shopkeeper.identity import selectors
from shopkeeper.identity.normalise import LONGEST, normalise_identifier
from shopkeeper.identity.store import IdentityStore, Selector, page_of_ids
from shopkeeper.identity.text_limits import unstorable
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
        return await self._one(unit, selectors.by_identifier(type, _key(identifier)), credentials=True)

    async def find_by_address(self, unit: Unit, *, via: Via, value: str) -> Identity | None:
        """Return the identity with this address, without credentials, or None. The address must be normalised.

        An unknown address takes as long as a known one.
        """
        return await self._one(unit, selectors.by_address(via, _queryable(value)), credentials=False)

    async def find_by_external_id(self, unit: Unit, external_id: str, *, credentials: bool = False) -> Identity | None:
        """Return the identity with this id of the shop's own system, or None."""
        return await self._one(unit, selectors.by_external_id(_queryable(external_id)), credentials=credentials)

    async def list_(
        self,
        unit: Unit,
        *,
        page_size: int = DEFAULT_PAGE,
        after: UUID | None = None,
        ids: Collection[UUID] | None = None,
        credentials_identifier: str | None = None,
    ) -> tuple[Sequence[Identity], UUID | None]:
        """Return a page of identities with their credentials, and the `after` of the next page, None on the last one.

        A page has at most `MOST_ON_A_PAGE` identities; `ids` are returned all at once. Raises `BadRequest` for two
        filters at once or too many ids.
        """
        if ids is not None and credentials_identifier is not None:
            raise BadRequest("Only one filter can be used at a time: 'ids' or 'credentials_identifier'.")
        if ids is not None and len(ids) > MOST_ON_A_PAGE:
            raise BadRequest(f"'ids' takes {MOST_ON_A_PAGE} ids at most.")
        if ids is not None:
            return (await self._store.load(unit, selectors.by_ids(ids), with_credentials=True) if ids else []), None
        size = min(max(page_size, 1), MOST_ON_A_PAGE)
        known = None if credentials_identifier is None else _key(credentials_identifier)
        found = await page_of_ids(unit, size=size + 1, after=after, identifier=known)
        page = found[:size]
        loaded = await self._store.load(unit, selectors.by_ids(page), with_credentials=True) if page else []
        return loaded, page[-1] if len(found) > size else None

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


def _key(identifier: str) -> str:
    return _queryable(normalise_identifier(identifier) if len(identifier) <= LONGEST else "")


def _queryable(text: str) -> str:
    """Query text that no row can hold as an empty text: the database would reject the parameter itself."""
    return "" if unstorable(text) else text
