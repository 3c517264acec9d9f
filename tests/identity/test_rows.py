"""How an identity is written down: in one order, whoever writes."""

from datetime import UTC, datetime

from shopkeeper.crypto import new_id
from shopkeeper.identity.rows import address_rows, identifier_rows
from shopkeeper.identity.values import Credential, RecoveryAddress, Via

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def credential(type_: str, *identifiers: str) -> Credential:
    return Credential(type_, identifiers, {}, 0, NOW, NOW)


def test_names_are_written_in_one_order_so_that_no_two_accounts_wait_for_each_other() -> None:
    """PostgreSQL ends one of two that do with an error, which no taken name would have caused."""
    given = [credential("password", "b@example.org", "a@example.org"), credential("code", "c@example.org")]
    rows = identifier_rows(new_id(), given, digests={})
    assert [(row["type"], row["identifier"], row["position"]) for row in rows] == [
        ("code", "c@example.org", 0),
        ("password", "a@example.org", 1),
        ("password", "b@example.org", 0),
    ]


def test_addresses_are_too() -> None:
    given = [RecoveryAddress(new_id(), value, Via.EMAIL, NOW, NOW) for value in ("b@example.org", "a@example.org")]
    rows = address_rows(new_id(), given)
    assert [(row["value"], row["position"]) for row in rows] == [("a@example.org", 1), ("b@example.org", 0)]
