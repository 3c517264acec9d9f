"""Authenticator assurance levels: which one an identity can reach, and whether a session has it.

Both are computed from live facts: what the identity has, and which methods this server has switched on. So a method
that is switched off stops asking for a second factor at the next start, for all identities at once.
"""

from dataclasses import dataclass
from typing import Literal

from shopkeeper.identity.values import Aal, Identity
from shopkeeper.sessions.values import Session

RequiredAal = Literal["aal1", "highest_available"]


@dataclass(frozen=True, slots=True)
class AssurancePolicy:
    """What counts as a second factor here: `second_factors` are credential types of methods that are switched on."""

    second_factors: frozenset[str] = frozenset()

    def highest_available(self, identity: Identity) -> Aal:
        """The level that an identity can reach with the factors it has."""
        factors: frozenset[str] = getattr(identity, "factors", frozenset())
        return Aal.AAL1 if self.second_factors.isdisjoint(factors) else Aal.AAL2

    def satisfied_by(self, session: Session, *, required: RequiredAal) -> bool:
        """Whether a session has the level that is required of it.

        >>> AssurancePolicy(frozenset({"totp"})).satisfied_by(session, required="highest_available")  # doctest: +SKIP
        """
        return required == "aal1" or session.aal >= self.highest_available(session.identity)
