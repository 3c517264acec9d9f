"""The services that obtain tokens, as values."""

from dataclasses import dataclass

from shopkeeper.jose.keys import KeySet


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """What a service authenticates with.

    Args:
        secrets: the SHA-256 of each secret.
        keys: its public keys; None where it has none.
        authorization: the SHA-256 of each whole value of the `Authorization` header.
    """

    id: str
    secrets: tuple[bytes, ...] = ()
    keys: KeySet | None = None
    authorization: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """A service, and what it may obtain.

    Args:
        grants: the values of `grant_type` that it may use.
        scopes: the scopes that its tokens may have, in the order of the configuration.
        audiences: the services that its tokens may be for.
        stores: the stores that it is limited to; None for all.
    """

    id: str
    grants: frozenset[str]
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    stores: frozenset[str] | None = None

    def may_serve(self, store: str | None) -> bool:
        """Whether it may act in a store. A session of no store counts in all, so it needs a client of all stores."""
        return self.stores is None or store in self.stores
