"""What a patch of an identity may change: a list of places, and nothing beside it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from shopkeeper.app.credential_facts import CREDENTIAL_FACTS
from shopkeeper.crypto import new_id
from shopkeeper.errors import BadRequest
from shopkeeper.identity.builder import IdentityBuilder, NewIdentity
from shopkeeper.identity.document import patched
from shopkeeper.identity.schema import Schemas
from shopkeeper.identity.values import Identity, State

CLOSED = [
    "",
    "/",
    "/id",
    "/ID",
    "/schema_url",
    "/state_changed_at",
    "/stateChangedAt",
    "/created_at",
    "/updated_at",
    "/organization_id",
    "/credentials",
    "/credentials/password/config/hashed_password",
    "/credentials/oidc/config/providers/0",
    "/recovery_addresses/0/value",
    "/verifiable_addresses",
    "/verifiable_addresses/0",
    "/verifiable_addresses/-",
    "/verifiable_addresses/0/value",
    "/verifiable_addresses/0/id",
    "/verifiable_addresses/0/verified/x",
    "/metadata_publics",
    "/state/",
    "traits",
    None,
    7,
]

OPERATIONS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "add": lambda path: {"op": "add", "path": path, "value": {"x": 1}},
    "replace": lambda path: {"op": "replace", "path": path, "value": {"x": 1}},
    "remove": lambda path: {"op": "remove", "path": path},
    "test": lambda path: {"op": "test", "path": path, "value": None},
    "copy from": lambda path: {"op": "copy", "from": path, "path": "/metadata_public"},
    "copy to": lambda path: {"op": "copy", "from": "/traits/email", "path": path},
    "move to": lambda path: {"op": "move", "from": "/traits/email", "path": path},
}


@pytest.fixture(scope="module")
def identity(schemas: Schemas) -> Identity:
    traits = {"email": "ada@example.org", "name": {"first": "Ada"}}
    drafting = IdentityBuilder(now=datetime(2026, 1, 1, tzinfo=UTC), new_id=new_id, facts=CREDENTIAL_FACTS)
    new = NewIdentity(traits=traits, id=UUID(int=7))
    return drafting.identity(new, schema_id="default", extracted=schemas.default.extract(traits))


@pytest.mark.parametrize("path", CLOSED, ids=json.dumps)
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_closed_places_stay_closed(identity: Identity, path: Any, operation: Callable[[Any], dict[str, Any]]) -> None:
    with pytest.raises(BadRequest):
        patched(identity, [operation(path)])


def test_all_open_places_can_be_changed_at_once(identity: Identity) -> None:
    new = patched(
        identity,
        [
            {"op": "replace", "path": "/schema_id", "value": "seller"},
            {"op": "replace", "path": "/state", "value": "inactive"},
            {"op": "replace", "path": "/external_id", "value": "7"},
            {"op": "replace", "path": "/metadata_public", "value": {"a": {}}},
            {"op": "add", "path": "/metadata_public/a/b~1c", "value": 1},
            {"op": "replace", "path": "/metadata_admin", "value": [1]},
            {"op": "move", "from": "/traits/name/first", "path": "/traits/username"},
            {"op": "replace", "path": "/verifiable_addresses/0/verified", "value": True},
        ],
    )
    assert (new.schema_id, new.state, new.external_id) == ("seller", State.INACTIVE, "7")
    assert (new.metadata_public, new.metadata_admin) == ({"a": {"b/c": 1}}, [1])
    assert new.traits == {"email": "ada@example.org", "name": {}, "username": "Ada"}
    assert [address.verified for address in new.verifiable_addresses] == [True]
    assert new.credentials == ()


def test_a_patch_leaves_the_original_identity_unchanged(identity: Identity) -> None:
    patched(identity, [{"op": "remove", "path": "/traits/name/first"}])
    assert identity.traits["name"] == {"first": "Ada"}
