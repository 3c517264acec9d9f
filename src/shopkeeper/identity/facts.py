"""Facts about a credential type, said by the method that owns it and handed in by `app/`."""

from collections.abc import Callable
from dataclasses import dataclass

from shopkeeper.identity.values import Credential


@dataclass(frozen=True, slots=True)
class CredentialFacts:
    """What the rest of the server needs to know about a credential type, said by its method.

    Args:
        type: the credential type, as it is stored.
        first_factor: whether it can sign in alone (AAL1).
        second_factor: whether it can raise a session to AAL2.
        removable: whether an operator may remove it from an identity.
        from_traits: whether its identifiers are traits that the schema marks with its name.
        written_version: the version that a new credential is stored with.
        read_version: the least version that a stored credential is shown with.
        usable: whether a stored credential can be used as it is, that is, holds a secret.
    """

    type: str
    first_factor: bool = False
    second_factor: bool = False
    removable: bool = False
    from_traits: bool = False
    written_version: int = 0
    read_version: int = 0
    usable: Callable[[Credential], bool] = lambda credential: bool(credential.config)
