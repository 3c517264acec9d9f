"""Authenticator assurance levels: which AAL an identity can reach, and whether a session has the required one.

Both are computed from live facts: the identity's factors and the methods that are switched on. So a method that is
switched off no longer requires a second factor from the next start on, for all identities at once.
"""

from dataclasses import dataclass
from typing import Literal

from shopkeeper.identity.values import Aal, Identity
from shopkeeper.sessions.values import Session

RequiredAal = Literal["aal1", "highest_available"]


@dataclass(frozen=True, slots=True)
class AssurancePolicy:
    """Which factors count as second factors: `second_factors` are the types of methods that are switched on."""

    second_factors: frozenset[str] = frozenset()

    def highest_available(self, identity: Identity) -> Aal:
        """Return the highest AAL that an identity can reach with its factors."""
        return Aal.AAL1 if self.second_factors.isdisjoint(identity.factors) else Aal.AAL2

    def satisfied_by(self, session: Session, *, required: RequiredAal) -> bool:
        """Whether a session has the required AAL.

        One in which an agent acts needs no second factor, which only the customer has: it shops, and what the factor
        protects is refused to it.

        >>> AssurancePolicy(frozenset({"totp"})).satisfied_by(session, required="highest_available")  # doctest: +SKIP
        """
        if required == "aal1" or session.actor is not None:
            return True
        return session.aal >= self.highest_available(session.identity)
