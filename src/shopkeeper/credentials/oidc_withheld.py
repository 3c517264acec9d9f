"""Accounts at providers whose sign-in is withheld until an address is verified.

Where the hook `require_verified_address` refuses such sign-ins, an account whose registration was only simulated,
because the address is taken, must be refused alike: registering it once more would tell the taken address from a free
one.
"""

from collections.abc import Awaitable, Callable, Collection

from shopkeeper.credentials.linked_providers import OIDC
from shopkeeper.credentials.simulated_registrations import SimulatedRegistrations
from shopkeeper.credentials.steps import Unverified
from shopkeeper.identity.values import Identity, Via
from shopkeeper.storage.database import Unit

Remember = Callable[[Unit, Identity | None], Awaitable[None]]


class WithheldSignIns:
    """Finds the sign-ins that are withheld, and remembers simulated registrations.

    Args:
        simulated: None where nothing has to be kept secret, or signing in needs no verified address.
    """

    def __init__(self, simulated: SimulatedRegistrations | None) -> None:
        self._simulated = simulated

    async def of(
        self, unit: Unit, owner: Identity | None, *, issuer: str, subject: str, verified: Collection[tuple[Via, str]]
    ) -> Unverified | None:
        """Return the step for an account of `owner`, of which no address is verified, or whose registration was
        simulated. The work is the same for both. None for everybody else, and where the provider has verified the
        address now."""
        if self._simulated is None or (owner is not None and not (owner.unverified and owner.active)):
            return None
        found = await self._simulated.find(unit, _name(issuer), subject)
        if owner is not None:
            proven = any((each.via, each.value) in verified for each in owner.verifiable_addresses)
            return None if proven else Unverified(OIDC, owner, owner.id, owner.address_to_verify)
        if found is None or (Via.EMAIL, found.address) in verified:
            return None
        return Unverified(OIDC, None, found.id, found.address)

    async def knows(self, unit: Unit, identity: Identity, *, issuer: str, subject: str) -> bool:
        """Return whether the registration of an account was simulated, because of an address that `identity` does not
        have: the account would belong to another identity if the address were free."""
        found = await self._simulated.find(unit, _name(issuer), subject) if self._simulated is not None else None
        return found is not None and found.address not in {each.value for each in identity.verifiable_addresses}

    def remembering(self, *, issuer: str, subject: str) -> Remember | None:
        """Return what remembers a registration that was simulated (`Enrolment.when_simulated`)."""
        simulated = self._simulated
        if simulated is None:
            return None

        async def remember(unit: Unit, identity: Identity | None) -> None:
            await simulated.remember(unit, identity, names=[_name(issuer)], secret=subject)

        return remember


def _name(issuer: str) -> str:
    """Return what an account is remembered by, beside its subject: no identifier of a password looks like it."""
    return f"{OIDC}\0{issuer}"
