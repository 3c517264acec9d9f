"""What belongs to one account at most: identifiers, each for one credential type, and addresses."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from shopkeeper.identity.extraction import Address, Extracted
from shopkeeper.identity.normalise import LONGEST, normalise_identifier
from shopkeeper.identity.text_limits import unstorable
from shopkeeper.identity.values import Identity


@dataclass(frozen=True, slots=True)
class UniqueNames:
    """Identifiers, as pairs of credential type and identifier, and addresses. All are normalised."""

    identifiers: Collection[tuple[str, str]] = ()
    addresses: Collection[Address] = ()

    @classmethod
    def of(
        cls,
        *,
        identifiers: Iterable[tuple[str, str]] = (),
        addresses: Iterable[Address] = (),
        exact: Iterable[tuple[str, str]] = (),
    ) -> "UniqueNames":
        """Return the names in the spelling under which they are looked up.

        `exact` are further identifiers, which are stored as they are: those of methods that are no traits, such as an
        account at a provider, whose subject is case-sensitive.
        """
        spelt = [(type_, lookup_key(name)) for type_, name in identifiers]
        spelt += [(type_, queryable(name)) for type_, name in exact]
        return cls(
            identifiers=tuple(dict.fromkeys(spelt)),
            addresses=tuple(dict.fromkeys((via, queryable(value)) for via, value in addresses)),
        )

    def without(self, others: "UniqueNames") -> "UniqueNames":
        """Return the names that are not among others."""
        return UniqueNames(
            identifiers=tuple(each for each in self.identifiers if each not in others.identifiers),
            addresses=tuple(each for each in self.addresses if each not in others.addresses),
        )

    def first_owner(self, found: Iterable[Identity]) -> Identity | None:
        """Return the account that has one of the identifiers, else the one that has one of the addresses, else the
        first of `found`, if there is any."""
        return min(found, key=lambda identity: (not self._identify(identity), not self._reach(identity)), default=None)

    def _identify(self, identity: Identity) -> bool:
        own = ((type_, name) for type_, known in identity.credentials.items() for name in known.identifiers)
        return any(each in self.identifiers for each in own)

    def _reach(self, identity: Identity) -> bool:
        own = [(each.via, each.value) for each in identity.verifiable_addresses]
        own += [(each.via, each.value) for each in identity.recovery_addresses]
        return any(each in self.addresses for each in own)


def names_of(extracted: Extracted) -> UniqueNames:
    """Return the identifiers and the addresses of traits."""
    return UniqueNames.of(
        identifiers=[(type_, name) for type_, names in extracted.identifiers.items() for name in names],
        addresses=(*extracted.verifiable, *extracted.recovery),
    )


def lookup_key(identifier: str) -> str:
    """Return the spelling under which an identifier is looked up; empty for one that no identity can have."""
    return queryable(normalise_identifier(identifier) if len(identifier) <= LONGEST else "")


def queryable(text: str) -> str:
    """Return an empty text for one that no row can hold: the database would reject the parameter itself."""
    return "" if unstorable(text) else text
