"""Changing the profile in a settings flow: the traits of the signed-in identity.

It is no credential and signs nobody in; it is a method because the settings flow shows and takes it like one.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from shopkeeper.credentials.method import MethodInput, MethodView
from shopkeeper.credentials.steps import FieldError, Form, SubmissionRejected, TraitsChange
from shopkeeper.identity.facts import CredentialFacts
from shopkeeper.identity.schema import Schema, Schemas
from shopkeeper.identity.values import Identity
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import Node, submit_node

PROFILE: Final = "profile"


class Profile:
    """The method `profile`.

    Args:
        schemas: the schemas of the traits; each identity keeps its own.
    """

    name = PROFILE
    facts = CredentialFacts(PROFILE)

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas

    async def settings_form(self, unit: Unit, view: MethodView) -> Form:
        """See `SettingsMethod`."""
        identity = require_identity(view)
        schema = self._schemas.require(identity.schema_id)
        return Form((*_fields(schema, identity.traits), submit_node(PROFILE, label=message(1070003))))

    async def submit_settings(self, unit: Unit, input: MethodInput) -> TraitsChange:  # noqa: A002 - the protocol's word
        """See `SettingsMethod`. Raises `SubmissionRejected` with all mistakes at once."""
        identity = require_identity(input)
        schema = self._schemas.require(identity.schema_id)
        traits = _with_hidden(schema, schema.submitted(input.submitted), identity.traits, fields=input.submitted)
        wrong = [FieldError(violation.name, violation.message) for violation in schema.validate(traits)]
        if wrong:
            raise SubmissionRejected(fields=wrong)
        return TraitsChange(traits, before=identity.traits, privileged=_reaches_account(schema, identity, traits))


def require_identity(view: MethodView) -> Identity:
    """Return the identity whose settings are changed."""
    if view.identity is None:
        raise TypeError("settings are changed without an identity")
    return view.identity


def _fields(schema: Schema, traits: Mapping[str, Any]) -> Sequence[Node]:
    return [
        field.node(group=PROFILE, value=_shown(_at(traits, field.name.split(".")[1:]))) for field in schema.fields()
    ]


def _at(value: Any, path: Sequence[str]) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _shown(value: Any) -> Any:
    """Return a value as a field shows it: plain values as they are, lists and objects as JSON text."""
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list | Mapping) else value


def _with_hidden(
    schema: Schema, traits: Mapping[str, Any], before: Mapping[str, Any], *, fields: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Keep traits that an HTML form cannot send because the form has no field for them. JSON replaces all traits."""
    if isinstance(fields.get("traits"), Mapping):
        return traits
    shown = {field.name.split(".")[1] for field in schema.fields()}
    return {**{name: value for name, value in before.items() if name not in shown}, **traits}


def _reaches_account(schema: Schema, identity: Identity, traits: Mapping[str, Any]) -> bool:
    """Return whether an identifier or an address changes: who has those can sign in, or recover the account."""
    return schema.extract(traits) != schema.extract(identity.traits)
