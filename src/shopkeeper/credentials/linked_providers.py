"""The stored form of accounts at identity providers: one credential per type, with one entry for each account.

Its identifiers are `provider:subject`, as in Kratos (contract page section 4.4). Who an account belongs to is decided
by its issuer and its subject (OpenID Connect Core 1.0, section 2), because a provider's id can be configured to mean
another issuer. So each entry stores its issuer; an imported one need not, and has that of the configured provider.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from shopkeeper import crypto
from shopkeeper.credentials.steps import NewCredential
from shopkeeper.errors import InvalidInput
from shopkeeper.identity.facts import CredentialInput
from shopkeeper.identity.memberships import provider_source
from shopkeeper.identity.sealing import holds_something
from shopkeeper.identity.values import Credential

OIDC: Final = "oidc"
MOST_LINKED: Final = 20
"""How many accounts at providers an identity may have."""
PROVIDERS: Final = "providers"
"""The key of a config that holds the entries."""


@dataclass(frozen=True, slots=True)
class LinkedAccount:
    """An account at a provider that is linked to an identity.

    Args:
        provider: the id of the configured provider.
        issuer: None for an imported entry.
        more: what else the entry holds, such as tokens or what another system has imported.
    """

    provider: str
    subject: str
    issuer: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identifier(self) -> str:
        return identifier_of(self.provider, self.subject)

    def to_config(self) -> Mapping[str, Any]:
        """Return the entry as it is stored."""
        entry = {**self.more, "provider": self.provider, "subject": self.subject}
        return entry if self.issuer is None else {**entry, "issuer": self.issuer}


def identifier_of(provider: str, subject: str) -> str:
    """Return the identifier of an account, as the contract has it. It is compared exactly: `sub` is case-sensitive.

    >>> identifier_of("google", "1093")
    'google:1093'
    """
    return f"{provider}:{subject}"


def linked_accounts(credential: Credential | None) -> Sequence[LinkedAccount]:
    """Return the accounts of a credential; none where there is no credential, or one that cannot be opened."""
    return _accounts(credential.config) if credential is not None else ()


def accounts_of(credential: NewCredential) -> Sequence[LinkedAccount]:
    """Return the accounts of a credential that is to be stored."""
    return _accounts(credential.config)


def linking(accounts: Sequence[LinkedAccount]) -> NewCredential:
    """Return the credential that holds these accounts, one or more."""
    config = {PROVIDERS: [account.to_config() for account in accounts]}
    return NewCredential(OIDC, config, [account.identifier for account in accounts])


def linking_also(credential: Credential | None, new: NewCredential) -> NewCredential:
    """Return the credential of an identity with the accounts of a new one, which replace the same ones."""
    fresh = accounts_of(new)
    names = {account.identifier for account in fresh}
    kept = [account for account in linked_accounts(credential) if account.identifier not in names]
    return linking([*kept, *fresh])


def account_digest(issuer: str, subject: str) -> bytes:
    """Return the digest of an account at a provider."""
    # The length keeps the two apart, so that no other issuer and subject give the same bytes.
    return crypto.digest(f"{len(issuer)}:{issuer}{subject}")


def account_digests(credential: Credential) -> Mapping[str, bytes]:
    """Return the digests of the accounts whose issuer is known, by identifier; each once."""
    known = [account for account in linked_accounts(credential) if account.issuer is not None]
    first = {account_digest(each.issuer or "", each.subject): each.identifier for each in reversed(known)}
    return {identifier: digest for digest, identifier in first.items()}


def added(known: Credential, given: CredentialInput) -> NewCredential:
    """Return the credential of an identity with the accounts that an operator gives it. One that it has already stays
    as it is, unless the given one names its issuer.

    Raises `InvalidInput` where they are too many, and where the credential cannot be opened.
    """
    if holds_something(known.config) and not known.config:
        raise InvalidInput("The links of this identity cannot be read: bring back the cipher secret, or remove them.")
    names = {account.identifier for account in linked_accounts(known)}
    fresh = [each for each in _accounts(given.config) if each.issuer is not None or each.identifier not in names]
    whole = linking_also(known, linking(fresh))
    if len(whole.identifiers) > MOST_LINKED:
        raise InvalidInput(f"An identity has {MOST_LINKED} linked accounts at most.")
    return whole


def extends(now: Credential, before: Credential) -> bool:
    """Return whether a credential still has every account of an earlier one."""
    entries: Any = now.config.get(PROVIDERS, ())
    readable = bool(before.config) or now.config == before.config
    return readable and all(entry in entries for entry in before.config.get(PROVIDERS, ()))


def group_sources(credential: Credential) -> Iterable[str]:
    """Return the sources of the groups that the linked providers give. The identifiers say so even where the config
    cannot be opened."""
    return {provider_source(identifier.partition(":")[0]) for identifier in credential.identifiers}


def without_provider(credential: Credential, identifier: str) -> Credential:
    """Return a credential without the account of an identifier; the config is empty when none is left."""
    left = [entry for entry in credential.config.get(PROVIDERS, ()) if _identifier(entry) != identifier]
    config = {**credential.config, PROVIDERS: left} if left else {}
    return replace(credential, config=config, identifiers=tuple(i for i in credential.identifiers if i != identifier))


def _accounts(config: Mapping[str, Any]) -> Sequence[LinkedAccount]:
    entries = config.get(PROVIDERS)
    read = (_read(entry) for entry in entries) if isinstance(entries, list | tuple) else ()
    return [account for account in read if account is not None]


def _read(entry: Any) -> LinkedAccount | None:
    if not isinstance(entry, Mapping):
        return None
    provider, subject, issuer = (entry.get(name) for name in ("provider", "subject", "issuer"))
    if not (isinstance(provider, str) and isinstance(subject, str)):
        return None
    more = {name: value for name, value in entry.items() if name not in {"provider", "subject", "issuer"}}
    return LinkedAccount(provider, subject, issuer if isinstance(issuer, str) else None, more)


def _identifier(entry: Any) -> str | None:
    account = _read(entry)
    return account.identifier if account is not None else None
