"""The stored form of accounts at identity providers."""

from datetime import UTC, datetime

from shopkeeper.credentials.linked_providers import LinkedAccount, account_digest, account_digests, linking
from shopkeeper.identity.values import Credential

ISSUER = "https://idp.example"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def stored(*accounts: LinkedAccount) -> Credential:
    new = linking(accounts)
    return Credential(new.type, tuple(new.identifiers), new.config, 0, NOW, NOW)


def test_an_account_has_one_digest_whichever_provider_leads_to_it() -> None:
    one, twin = (LinkedAccount(name, "alice", ISSUER) for name in ("idp", "twin"))
    digest = account_digest(ISSUER, "alice")
    assert account_digests(stored(one)) == {"idp:alice": digest}
    assert account_digests(stored(twin)) == {"twin:alice": digest}
    assert account_digests(stored(one, twin)) == {"idp:alice": digest}, "it is unique"


def test_the_boundary_between_issuer_and_subject_counts() -> None:
    assert account_digest("https://a", "b") != account_digest("https://", "ab")
    assert account_digest(ISSUER, "alice") != account_digest(ISSUER, "Alice")


def test_an_account_whose_issuer_is_not_known_has_none() -> None:
    assert account_digests(stored(LinkedAccount("idp", "alice"))) == {}
