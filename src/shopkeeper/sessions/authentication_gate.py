"""The one gate of identities: whether a person may get, renew or use what stands for a sign-in.

Every grant, refresh, exchange and introspection asks here, so that no side door serves an account that a sign-in would
refuse.
"""

from collections.abc import Collection, Iterable
from typing import Final

from shopkeeper.clock import Clock
from shopkeeper.identity.values import Identity
from shopkeeper.sessions.cache import CachedSession

_OK: Final = 200
BY_PROVIDER: Final = "oidc"
"""The method by which an identity is signed in for whom another issuer vouches."""


class AuthenticationGate:
    """Decides by the state of now, never by what was true at the sign-in.

    Args:
        verified_for: the methods that sign in only who has verified an address (`require_verified_address`).
    """

    def __init__(self, *, clock: Clock, verified_for: Collection[str] = ()) -> None:
        self._clock, self._verified_for = clock, frozenset(verified_for)

    def may_authenticate(self, identity: Identity, *, by: Iterable[str]) -> bool:
        """Return whether an identity may be signed in by some methods: it is active, and has verified an address where
        one of them asks for that."""
        return identity.active and not (identity.unverified and not self._verified_for.isdisjoint(by))

    def may_act(self, cached: CachedSession) -> bool:
        """Return whether something may be issued or accepted for a session: it lasts, has the assurance that whoami
        asks for, and its identity may be signed in as it was."""
        session = cached.session
        methods = {each.method for each in session.authentication_methods}
        return (
            cached.valid_at(self._clock.now())
            and cached.whoami.status == _OK
            and self.may_authenticate(session.identity, by=methods)
        )
