"""Facts about a credential type, declared by its method and passed in by `app/`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from shopkeeper.identity.extraction import Extracted
from shopkeeper.identity.sealing import holds_something
from shopkeeper.identity.values import Credential, Via


class CredentialInput(Protocol):
    """A credential to be stored. Its identifiers are ignored for types whose identifiers are traits."""

    @property
    def type(self) -> str: ...

    @property
    def config(self) -> Mapping[str, Any]: ...

    @property
    def identifiers(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class CredentialFacts:
    """What the rest of the server must know about a credential type, declared by its method.

    Args:
        type: the credential type, as it is stored.
        first_factor: whether it can sign in alone (AAL1).
        second_factor: whether it can raise a session to AAL2.
        removable: whether an operator may remove it from an identity.
        without: returns a credential without the part of one identifier, for types that hold several which an operator
            removes one by one; None for types that are removed whole.
        added: returns the credential with what an operator gives for an identity that has one, for types that hold
            several things; it may raise `InvalidInput`. None for types whose credential is replaced.
        from_traits: whether its identifiers are traits that the schema marks with its name.
        reached_by: how its identifiers are reached where the schema gives no `via`; None if they are no addresses.
        config_from_traits: computes the whole config from the traits; a config that is given for the type is ignored.
            None for types that store a config of their own.
        sealed: whether the config is stored sealed, because it holds a directly usable secret (TOTP secrets, upstream
            tokens).
        written_version: the version that a new credential is stored with.
        read_version: the minimum version that a stored credential is shown with.
        usable: whether a stored credential can be used, that is, holds a secret.
        extends: whether the first credential still proves all that the second one proved; another account at a provider
            takes nothing away.
        digests: returns, by identifier, the digest of what it stands for, where that is more than the identifier says
            and belongs to one identity at most. Of several that stand for the same, the first one has it.
        group_sources: returns the sources of groups that a credential stands for (`memberships.py`); without it, their
            groups end.
    """

    type: str
    first_factor: bool = False
    second_factor: bool = False
    removable: bool = False
    without: Callable[[Credential, str], Credential] | None = None
    added: Callable[[Credential, CredentialInput], CredentialInput] | None = None
    from_traits: bool = False
    reached_by: Via | None = None
    config_from_traits: Callable[[Extracted], Mapping[str, Any]] | None = None
    sealed: bool = False
    written_version: int = 0
    read_version: int = 0
    usable: Callable[[Credential], bool] = lambda credential: bool(credential.config)
    extends: Callable[[Credential, Credential], bool] = lambda now, before: now.config == before.config
    digests: Callable[[Credential], Mapping[str, bytes]] = lambda _: {}
    group_sources: Callable[[Credential], Iterable[str]] = lambda _: ()


FactsByType = Mapping[str, CredentialFacts]


def facts_of(facts: FactsByType, type_: str) -> CredentialFacts:
    """Return the facts about a type. A type that is not listed is stored and shown, but has no effect."""
    return facts.get(type_) or CredentialFacts(type_)


def factors_of(facts: FactsByType, credentials: Mapping[str, Credential]) -> frozenset[str]:
    """Return the types with a usable credential. `Identity.factors` is computed only here.

    A second factor that is stored but cannot be opened counts, too: otherwise a lost cipher secret would let one factor
    suffice where the account has two.
    """
    return frozenset(type_ for type_, credential in credentials.items() if _counts(facts_of(facts, type_), credential))


def digests_of(facts: FactsByType, credentials: Iterable[Credential]) -> Mapping[tuple[str, str], bytes]:
    """Return the digests of what identifiers stand for, by type and identifier."""
    by_type = ((known.type, facts_of(facts, known.type).digests(known)) for known in credentials)
    return {(type_, name): digest for type_, digests in by_type for name, digest in digests.items()}


def group_sources_of(facts: FactsByType, credentials: Iterable[Credential]) -> frozenset[str]:
    """Return the sources of groups that credentials stand for."""
    return frozenset(
        source for credential in credentials for source in facts_of(facts, credential.type).group_sources(credential)
    )


def _counts(known: CredentialFacts, credential: Credential) -> bool:
    unreadable = holds_something(credential.config) and not credential.config
    return known.usable(credential) or (known.second_factor and unreadable)


def types_from_traits(facts: FactsByType) -> Mapping[str, Via | None]:
    """Return the types whose identifiers are traits, with how these are reached by default; for `Schemas.load`."""
    return {type_: known.reached_by for type_, known in facts.items() if known.from_traits}
