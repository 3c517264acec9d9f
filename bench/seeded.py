"""The seeded data: identities and sessions as functions of their number, so that a benchmark can use any of them."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Table

from shopkeeper.crypto import digest
from shopkeeper.identity import store as accounts
from shopkeeper.identity.terms import terms_of
from shopkeeper.identity.values import Aal, AddressStatus, State, Via
from shopkeeper.sessions import store as sessions
from shopkeeper.sessions.service import TOKEN_PREFIX

MOST = 1 << 30
BEGUN = datetime(2024, 1, 1, tzinfo=UTC)
"""When the first one registered; each further one came a millisecond later."""
GOOD_FOR = timedelta(days=3650)
RARE = 1_000
"""One identity in so many is in the group `gold`, the others are in `standard`."""
_MILLISECOND = timedelta(milliseconds=1)

Rows = list[dict[str, Any]]


def token(number: int) -> str:
    """Return the token of the session with a number."""
    return TOKEN_PREFIX + hashlib.sha256(b"seeded session %d" % number).hexdigest()


def email(number: int) -> str:
    """Return the address of the identity with a number."""
    return f"seeded-{number}@bench.example"


def identity_id(number: int) -> UUID:
    """Return the id of the identity with a number."""
    return _id("identity", number)


def number_of(identity: UUID) -> int:
    """Return the number of a seeded identity."""
    return identity.int & _NUMBER


def rows_of(numbers: range, *, password_hash: str, now: datetime) -> Mapping[Table, Rows]:
    """Return the rows of a batch, by table, in the order in which they refer to each other."""
    return {
        accounts.identities: [_identity(number) for number in numbers],
        accounts.credentials: [_credential(number, password_hash) for number in numbers],
        accounts.credential_identifiers: [_identifier(number) for number in numbers],
        accounts.verifiable_addresses: [{**_address(number, "verifiable"), **_UNPROVEN} for number in numbers],
        accounts.recovery_addresses: [_address(number, "recovery") for number in numbers],
        accounts.identity_terms: [row for number in numbers for row in _terms(number)],
        sessions.sessions: [_session(number, now) for number in numbers],
    }


_KINDS = {name: place for place, name in enumerate(("identity", "verifiable", "recovery", "session", "device"))}
_NUMBER = (1 << 62) - 1
_BEGUN = int(BEGUN.timestamp() * 1000)
_UNPROVEN = {"verified": False, "status": AddressStatus.PENDING.value, "verified_at": None}


def _id(kind: str, number: int) -> UUID:
    """Return a UUIDv7 of the moment of its creation, with the kind and the number in place of the random bits."""
    return UUID(int=_BEGUN + number << 80 | 0x7 << 76 | _KINDS[kind] << 64 | 0b10 << 62 | number)


def _moment(number: int) -> datetime:
    return BEGUN + number * _MILLISECOND


def _times(number: int) -> dict[str, datetime]:
    return {"created_at": _moment(number), "updated_at": _moment(number)}


def _traits(number: int) -> dict[str, Any]:
    name = {"first": "Seeded", "last": f"Customer {number}"}
    return {"email": email(number), "name": name, "group": "standard" if number % RARE else "gold"}


def _terms(number: int) -> Rows:
    return [{"term": term, "identity_id": _id("identity", number)} for term in sorted(terms_of(_traits(number)))]


def _identity(number: int) -> dict[str, Any]:
    return {
        "id": _id("identity", number),
        "schema_id": "default",
        "state": State.ACTIVE.value,
        "state_changed_at": _moment(number),
        "traits": _traits(number),
        "metadata_public": None,
        "metadata_admin": None,
        "external_id": None,
        "factors": ["password"],
        **_times(number),
    }


def _credential(number: int, password_hash: str) -> dict[str, Any]:
    return {
        "identity_id": _id("identity", number),
        "type": "password",
        "config": {"hashed_password": password_hash},
        "version": 0,
        **_times(number),
    }


def _identifier(number: int) -> dict[str, Any]:
    return {"identifier": email(number), "type": "password", "identity_id": _id("identity", number), "position": 0}


def _address(number: int, kind: str) -> dict[str, Any]:
    return {
        "id": _id(kind, number),
        "identity_id": _id("identity", number),
        "via": Via.EMAIL.value,
        "value": email(number),
        "position": 0,
        **_times(number),
    }


def _session(number: int, now: datetime) -> dict[str, Any]:
    proof = {"method": "password", "aal": Aal.AAL1.value, "completed_at": _moment(number).isoformat()}
    return {
        "id": _id("session", number),
        "token_hash": digest(token(number)),
        "identity_id": _id("identity", number),
        "store": None,
        "active": True,
        "aal": Aal.AAL1.value,
        "authentication_methods": [proof],
        "authenticated_at": _moment(number),
        "issued_at": _moment(number),
        "expires_at": now + GOOD_FOR,
        "revoked_at": None,
        "devices": [_device(number)],
    }


def _device(number: int) -> dict[str, Any]:
    return {
        "id": str(_id("device", number)),
        "ip_address": "192.0.2.1:443",
        "user_agent": "seeding",
        "location": "",
    }
