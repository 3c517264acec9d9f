"""Changes of addresses, and what a former address may still do.

Who takes over a session changes the address first, so that recovery leads to them. So a former address

    is told of the change, with a link that undoes it for `UNDO_FOR`
    recovers the account until an address is confirmed after the change, for `KEPT_FOR` at most
    stays reserved for the account for `UNDO_FOR`: otherwise registering it anew would prevent the undoing

Only an address that was verified on the account has these rights: anybody can enter somebody else's. They end with a
recovery of the account by another address, and with an operator's change of addresses or password: who has had the
account before must not get it back.

Several changes have a right each. Undoing one undoes the later ones, whose links end with it: they went to addresses
that may be the intruder's.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from shopkeeper import crypto
from shopkeeper.clock import Clock
from shopkeeper.errors import Conflict, NotFound
from shopkeeper.identity import address_change_store as rows
from shopkeeper.identity.extraction import Address
from shopkeeper.identity.service import Identities
from shopkeeper.identity.unique_names import UniqueNames
from shopkeeper.identity.values import Identity, Via
from shopkeeper.storage.database import Unit

UNDO_FOR: Final = timedelta(hours=72)
KEPT_FOR: Final = timedelta(days=30)
MOST_CHANGES: Final = 5
"""How often the addresses of an account can be changed in `UNDO_FOR`."""
TOKEN_PREFIX: Final = "shk_au_"  # noqa: S105 - the prefix of every token, for people and secret scanners
_PASSWORD: Final = "password"  # noqa: S105 - the credential type


class TooManyAddressChanges(Exception):
    """Raised where the addresses of an account were changed too often."""


class UndoEnded(NotFound):
    """Raised for a link that is unknown, too old or used, which the answer does not tell apart."""

    topic = "undo_link"
    message = "This link has been used, or it is too old."


class AddressTaken(Conflict):
    """Raised where the former address belongs to another account now."""

    topic = "former_address"
    message = "The former address belongs to another account now. Please contact the shop."


class Recipients(StrEnum):
    """Which addresses from before a change are told of it."""

    REMOVED = "removed"
    ALL_VERIFIED = "all_verified"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class UndoRight:
    """The right of a former address; the token goes there by mail, and only its digest is stored. An address without a
    token is told of the change and cannot undo it."""

    address: str
    token: str | None


@dataclass(frozen=True, slots=True)
class UndoOffer:
    """What a link would undo."""

    address: str
    at: datetime


class AddressChanges:
    """Records and undoes changes of addresses."""

    def __init__(self, identities: Identities, *, clock: Clock) -> None:
        self._identities = identities
        self._clock = clock

    async def record(
        self, unit: Unit, before: Identity, after: Identity, *, recipients: Recipients = Recipients.REMOVED
    ) -> Sequence[UndoRight]:
        """Give the addresses from before their rights, in the transaction of the change; nothing where none has
        changed.

        Where addresses were only added, the first one is told at least. A change back to a former address ends the
        rights of the addresses that came after it. The caller has locked the identity. Raises `Conflict` where a new
        address is another account's former one and reserved for it, and `TooManyAddressChanges`.
        """
        former, now = mailboxes(before), self._clock.now()
        known = addresses_of(before)
        fresh = [address[1] for address in addresses_of(after) if address not in known and address[0] is Via.EMAIL]
        if former == mailboxes(after) and not fresh:
            return ()
        changes = await rows.changes_since(unit, before.id, fresh, now - UNDO_FOR)
        own = [each for each in changes if each.identity_id == before.id]
        if len(own) < len(changes):
            raise Conflict("This address is reserved for another account.")
        if former == mailboxes(after):
            return ()
        if len({each.created_at for each in own}) >= MOST_CHANGES:  # one change may give several rights
            raise TooManyAddressChanges
        passing = self._ended_by_return(unit, before, own, fresh, now)
        told = _told(before, after, recipients) or former[:1]
        verified = {each.value for each in before.verifiable_addresses if each.verified and each.value not in passing}
        rights = [UndoRight(each, crypto.new_token(TOKEN_PREFIX) if each in verified else None) for each in told]
        if rights:
            await rows.add(unit, [self._row(before, after, right, now) for right in rights])
        return rights

    def _ended_by_return(
        self, unit: Unit, before: Identity, own: Sequence[Any], fresh: Collection[str], now: datetime
    ) -> Collection[str]:
        """End the rights of the addresses that the account returns to, and of those that came after them; return the
        latter. `own` are its changes, the latest first."""
        returned = [each for each in own if each.ended_at is None and each.address in fresh]
        if not returned:
            return ()
        traits, since = before.traits, min(each.created_at for each in returned)
        for change in own:
            if change.created_at >= since:
                traits = _restored(traits, change.former_traits)
        extracted = self._identities.schemas.require(before.schema_id).extract(traits)
        then = {value for _, value in (*extracted.verifiable, *extracted.recovery)}
        passing = {each.address for each in own if each.created_at >= since} | set(mailboxes(before))
        over = {*fresh, *(passing - then)}
        rows.end_later(unit, [each.id for each in own if each.ended_at is None and each.address in over], now)
        return passing - then

    async def owner_of(self, unit: Unit, names: UniqueNames, *, proven: Collection[Address] = ()) -> Identity | None:
        """Return the account that has one of these identifiers or addresses, or that an address is reserved for.

        Who changed another account's address must not take the former one, or its owner could not undo the change. But
        no address is reserved against who has `proven` it.
        """
        mailboxes = [value for via, value in names.addresses if via is Via.EMAIL and (via, value) not in proven]
        since = self._clock.now() - UNDO_FOR
        return await self._identities.find_owner(unit, names, reserved=mailboxes, reserved_since=since)

    async def recoverable_by(self, unit: Unit, *, via: Via, value: str) -> Identity | None:
        """Return the account that this address can recover, without credentials, or None. The address must be
        normalised.

        That is the account that has it, or else the one whose former address it is until an address is confirmed after
        the change; none for an address that was never verified beside one that is. One statement in every case, so that
        the time reveals nothing.
        """
        since = self._clock.now() - KEPT_FOR
        found = await self._identities.find_for_recovery(unit, via=via, value=value, since=since)
        return None if found is not None and found.outranked(via, value) else found

    async def offer(self, unit: Unit, token: str) -> UndoOffer:
        """Return what a token would undo; nothing is spent. Raises `UndoEnded`."""
        change = await self._open(unit, token)
        return UndoOffer(change.address, change.created_at)

    async def undo(self, unit: Unit, token: str, *, client_ip: str | None, recovery: bool) -> Identity:
        """Put the former traits back and end what an intruder may have set up since; return the account as it is then.

        Every session ends. The password goes too, where recovery gives a new one (`recovery`), or where it was set
        after the change. The address that got the link counts as verified. Raises `UndoEnded` and `AddressTaken`.
        """
        change = await self._open(unit, token)
        before = await self._identities.lock(unit, change.identity_id)
        if not await rows.end_from(unit, change, self._clock.now()):
            raise UndoEnded
        since = [type_ for type_, known in before.credentials.items() if known.created_at >= change.created_at]
        if recovery or _password_digest(before) != change.password_digest:
            since.append(_PASSWORD)
        traits = _restored(before.traits, change.former_traits)
        try:
            after = await self._identities.take_back(unit, before, traits, revoke=since, client_ip=client_ip)
        except Conflict as taken:
            raise AddressTaken from taken
        return await self._identities.mark_verified(
            unit, after, [(Via(change.via), change.address)], actor=str(after.id), client_ip=client_ip
        )

    async def purge(self, unit: Unit, before: datetime, batch: int) -> int:
        """Delete changes made before a moment, at most `batch`; return how many."""
        return await rows.purge(unit, before=before, batch=batch)

    async def _open(self, unit: Unit, token: str) -> Any:
        change: Any = await rows.by_token(unit, crypto.digest(token)) if token.startswith(TOKEN_PREFIX) else None
        if change is None or change.ended_at is not None or change.created_at + UNDO_FOR <= self._clock.now():
            raise UndoEnded
        return change

    def _row(self, before: Identity, after: Identity, right: UndoRight, now: datetime) -> dict[str, object]:
        return {
            "id": crypto.new_id(),
            "identity_id": before.id,
            "via": Via.EMAIL.value,
            "address": right.address,
            "former_traits": self._former_traits(before, after),
            "token_hash": crypto.digest(right.token or crypto.new_token(TOKEN_PREFIX)),
            "password_digest": _password_digest(before),
            "created_at": now,
            "ended_at": now if right.token is None else None,
        }

    def _former_traits(self, before: Identity, after: Identity) -> Mapping[str, Any]:
        """Return the traits that hold changed identifiers or addresses, whole, as they were; None for one that was
        not there."""
        schema = self._identities.schemas.require(before.schema_id)
        old, new = schema.marked_traits(before.traits), schema.marked_traits(after.traits)
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        return {name: before.traits.get(name) for name in names}


def _told(before: Identity, after: Identity, recipients: Recipients) -> Sequence[str]:
    """Return the addresses that learn of a change: those that the account has lost, and the others as configured."""
    verified = {each.value for each in before.verifiable_addresses if each.verified}
    kept = mailboxes(after)

    def learns(address: str) -> bool:
        match recipients:
            case Recipients.ALL:
                return True
            case Recipients.ALL_VERIFIED if address in verified:
                return True
            case _:
                return address not in kept

    return [address for address in mailboxes(before) if learns(address)]


def addresses_of(identity: Identity) -> Sequence[Address]:
    """Return the addresses of an account, for verification or recovery."""
    verifiable = [(address.via, address.value) for address in identity.verifiable_addresses]
    recovery = [(address.via, address.value) for address in identity.recovery_addresses]
    return tuple(dict.fromkeys((*verifiable, *recovery)))


def mailboxes(identity: Identity) -> list[str]:
    """Return the e-mail addresses of an account, in the order of its schema."""
    found = [value for via, value in addresses_of(identity) if via is Via.EMAIL]
    return found or [address for address in [identity.email] if address]


def _restored(traits: Mapping[str, Any], former: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in {**traits, **former}.items() if value is not None or name not in former}


def _password_digest(identity: Identity) -> bytes | None:
    known = identity.credentials.get(_PASSWORD)
    hashed = known.config.get("hashed_password") if known else None
    return crypto.digest(hashed) if isinstance(hashed, str) and hashed else None
