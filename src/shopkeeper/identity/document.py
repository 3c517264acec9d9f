"""Converts an identity to the JSON document that a JSON Patch changes, and back. Only fields listed here can change."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from shopkeeper.errors import BadRequest, InvalidInput
from shopkeeper.identity.builder import AddressInput, NewIdentity
from shopkeeper.identity.json_patch import apply
from shopkeeper.identity.memberships import GivenGroups
from shopkeeper.identity.values import AddressStatus, Identity, State, VerifiableAddress, Via

_OPEN = re.compile(
    r"/(?:schema_id|state|external_id"
    r"|(?:traits|metadata_public|metadata_admin)(?:/.*)?"
    r"|groups(?:/[0-9-]+)?"
    r"|verifiable_addresses/\d+/(?:verified|status|verified_at))",
    re.DOTALL,
)

_T = TypeVar("_T")


def patched(identity: Identity, operations: Sequence[Mapping[str, Any]]) -> NewIdentity:
    """Return the identity's data after a patch. Raises `BadRequest` for paths that a patch may not change.

    As in Kratos, `add` creates the objects and arrays on its path that are missing or null.
    """
    for operation in operations:
        _refuse_closed(operation.get("path"))
        if "from" in operation:
            _refuse_closed(operation["from"])
    document = apply(_document(identity), operations, create_parents=True)
    return _read(document, groups=_groups(document.get("groups"), before=identity))


def _refuse_closed(path: Any) -> None:
    if not isinstance(path, str) or not _OPEN.fullmatch(path):
        raise BadRequest(
            "A patch can change /schema_id, /state, /traits, /metadata_public, /metadata_admin, /external_id, /groups,"
            " and 'verified', 'status' and 'verified_at' of a verifiable address; nothing else."
        )


def _document(identity: Identity) -> dict[str, Any]:
    return {
        "schema_id": identity.schema_id,
        "state": identity.state.value,
        "traits": dict(identity.traits),
        "metadata_public": identity.metadata_public,
        "metadata_admin": identity.metadata_admin,
        "external_id": identity.external_id,
        "groups": list(identity.groups),
        "verifiable_addresses": [_address_document(address) for address in identity.verifiable_addresses],
    }


def _address_document(address: VerifiableAddress) -> dict[str, Any]:
    return {
        "value": address.value,
        "via": address.via.value,
        "verified": address.verified,
        "status": address.status.value,
        "verified_at": address.verified_at.isoformat() if address.verified_at else None,
    }


def _groups(value: Any, *, before: Identity) -> GivenGroups | None:
    """Return the groups after a patch, None where it changes none of them."""
    names = [] if value is None else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidInput("'groups' is a list of names.")
    return None if names == list(before.groups) else GivenGroups(names)


def _read(document: Mapping[str, Any], *, groups: GivenGroups | None) -> NewIdentity:
    return NewIdentity(
        schema_id=_of_type(str, document, "schema_id"),
        state=_state(document.get("state")),
        traits=_of_type(dict, document, "traits"),
        metadata_public=document.get("metadata_public"),
        metadata_admin=document.get("metadata_admin"),
        external_id=None if document.get("external_id") is None else _of_type(str, document, "external_id"),
        verifiable_addresses=[_address(address) for address in document["verifiable_addresses"]],
        groups=groups,
    )


def _address(document: Mapping[str, Any]) -> AddressInput:
    return AddressInput(
        value=document["value"],
        via=Via(document["via"]),
        verified=_of_type(bool, document, "verified"),
        status=_status(document.get("status")),
        verified_at=_moment(document.get("verified_at")),
    )


def _of_type(kind: type[_T], document: Mapping[str, Any], name: str) -> _T:
    value = document.get(name)
    if not isinstance(value, kind):
        raise InvalidInput(f"'{name}' is missing after the patch, or of another type than it should be.")
    return value


def _state(value: Any) -> State:
    if value not in list(State):
        raise InvalidInput("'state' is 'active' or 'inactive'.")
    return State(value)


def _status(value: Any) -> AddressStatus:
    if value not in list(AddressStatus):
        raise InvalidInput("'status' of an address is 'pending', 'sent' or 'completed'.")
    return AddressStatus(value)


def _moment(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError) as broken:
        raise InvalidInput("'verified_at' is a date and time as RFC 3339 has it.") from broken
    if moment.tzinfo is None:
        raise InvalidInput("'verified_at' needs a time zone.")
    return moment
