"""Accounts at providers whose sign-in is withheld until an address is verified.

Where the hook `require_verified_address` refuses such sign-ins, an account whose registration was only simulated,
because the address is taken, must be refused alike: registering it once more would tell the taken address from a free
one.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence

from shopkeeper.credentials.linked_providers import OIDC
from shopkeeper.credentials.simulated_registrations import SimulatedRegistration, SimulatedRegistrations
from shopkeeper.credentials.steps import Unverified
from shopkeeper.identity.address_changes import AddressChanges
from shopkeeper.identity.unique_names import UniqueNames
from shopkeeper.identity.values import Identity, Via
from shopkeeper.storage.database import Unit

Remember = Callable[[Unit, Identity | None], Awaitable[None]]


class WithheldSignIns:
    """Finds the sign-ins that are withheld, and remembers simulated registrations.

    Args:
        simulated: None where nothing has to be kept secret, or signing in needs no verified address.
        address_changes: finds out whether an address still has an owner.
        named_by: the credential types whose identifiers may be addresses.
    """

    def __init__(
        self, simulated: SimulatedRegistrations | None, *, address_changes: AddressChanges, named_by: Sequence[str]
    ) -> None:
        self._simulated = simulated
        self._address_changes = address_changes
        self._named_by = named_by

    async def of(
        self, unit: Unit, owner: Identity | None, *, issuer: str, subject: str, verified: Collection[tuple[Via, str]]
    ) -> Unverified | None:
        """Return the step for an account of `owner`, of which no address is verified, or whose registration was
        simulated. The work is the same for both. None for everybody else, and where the provider has verified the
        address now, or nobody has it any more."""
        if self._simulated is None or (owner is not None and not (owner.unverified and owner.active)):
            return None
        found = await self._find(unit, self._simulated, owner, issuer=issuer, subject=subject)
        if owner is not None:
            proven = any((each.via, each.value) in verified for each in owner.verifiable_addresses)
            return None if proven else Unverified(OIDC, owner, owner.id, owner.address_to_verify)
        if found is None or (Via.EMAIL, found.address) in verified:
            return None
        return Unverified(OIDC, None, found.id, found.address)

    async def knows(self, unit: Unit, identity: Identity, *, issuer: str, subject: str) -> bool:
        """Return whether the registration of an account was simulated, because of an address that `identity` does not
        have: the account would belong to another identity if the address were free."""
        if self._simulated is None:
            return False
        found = await self._find(unit, self._simulated, identity, issuer=issuer, subject=subject)
        return found is not None and found.address not in {each.value for each in identity.verifiable_addresses}

    def remembering(self, *, issuer: str, subject: str) -> Remember | None:
        """Return what remembers a registration that was simulated (`Enrolment.when_simulated`)."""
        simulated = self._simulated
        if simulated is None:
            return None

        async def remember(unit: Unit, identity: Identity | None) -> None:
            taken = await self._is_taken(unit, identity.address_to_verify if identity is not None else None)
            await simulated.remember(
                unit, identity, names=[_name(issuer)], secret=subject, address_was_taken=taken, anew=True
            )

        return remember

    async def _find(
        self, unit: Unit, simulated: SimulatedRegistrations, identity: Identity | None, *, issuer: str, subject: str
    ) -> SimulatedRegistration | None:
        """Return the simulated registration of an account, unless its address was taken then and is free now. Without
        one, do as much work for the address of `identity`."""
        found = await simulated.find(unit, _name(issuer), subject)
        known = found.address if found is not None else identity.address_to_verify if identity is not None else None
        taken = await self._is_taken(unit, known)
        return None if found is not None and found.address_was_taken and not taken else found

    async def _is_taken(self, unit: Unit, address: str | None) -> bool:
        names = [address] if address is not None else []
        wanted = UniqueNames.of(
            identifiers=[(type_, name) for type_ in self._named_by for name in names],
            addresses=[(Via.EMAIL, name) for name in names],
        )
        return await self._address_changes.owner_of(unit, wanted) is not None


def _name(issuer: str) -> str:
    """Return what an account is remembered by, beside its subject: no identifier of a password looks like it."""
    return f"{OIDC}\0{issuer}"
