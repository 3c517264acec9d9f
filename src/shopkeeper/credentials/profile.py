"""Changing the profile in a settings flow: the traits of the signed-in identity.

It is no credential and signs nobody in; it is a method because the settings flow shows and takes it like one.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from shopkeeper.credentials.method import MethodInput, MethodView
from shopkeeper.credentials.stale_traits import ChangedMeanwhile, put_back, with_values_of_now
from shopkeeper.credentials.steps import FieldError, Form, SubmissionRejected, TraitsChange
from shopkeeper.identity.facts import CredentialFacts
from shopkeeper.identity.schema import Schema, Schemas
from shopkeeper.identity.values import Identity
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import message, reason
from shopkeeper.ui.nodes import Node, submit_node

PROFILE: Final = "profile"
_TRAITS: Final = "traits"
"""The key in the method's context of the traits that its form was opened with."""
_READ_ONLY: Final = "This cannot be changed here."


class Profile:
    """The method `profile`.

    Args:
        schemas: the schemas of the traits; each identity keeps its own.
        keeps_names: whether addresses and identifiers stay as they are, because an identity provider says which the
            customer has: an unverified one would keep its owner out.
    """

    name = PROFILE
    facts = CredentialFacts(PROFILE)

    def __init__(self, schemas: Schemas, *, keeps_names: bool = False) -> None:
        self._schemas = schemas
        self._keeps_names = keeps_names

    async def settings_form(self, unit: Unit, view: MethodView) -> Form:
        """See `SettingsMethod`."""
        identity = require_identity(view)
        schema = self._schemas.require(identity.schema_id)
        nodes = (*_fields(schema, identity.traits), submit_node(PROFILE, label=message(1070003)))
        return Form(nodes, {_TRAITS: dict(identity.traits)})

    def as_of_now(self, nodes: Sequence[Node], context: Mapping[str, Any], identity: Identity) -> Sequence[Node]:
        """Return the nodes of a form with what was changed elsewhere since it was opened; what was typed stays."""
        then = context.get(_TRAITS, identity.traits)
        fields = self._schemas.require(identity.schema_id).fields()
        return with_values_of_now(
            nodes,
            {each.name: (_shown(_at(then, each.path)), _shown(_at(identity.traits, each.path))) for each in fields},
        )

    async def submit_settings(self, unit: Unit, input: MethodInput) -> TraitsChange:  # noqa: A002 - the protocol's word
        """See `SettingsMethod`. Raises `SubmissionRejected` with all mistakes at once, and
        `ChangedMeanwhile` where it would put back what was changed elsewhere."""
        identity = require_identity(input)
        schema = self._schemas.require(identity.schema_id)
        traits = _submitted(schema, identity.traits, fields=input.submitted)
        opened_with = input.context.get(_TRAITS, identity.traits)
        wrong = _changed_read_only(schema, identity.traits, traits, opened_with=opened_with)
        traits = _with_read_only(schema, identity.traits, traits)
        if names := put_back(opened_with, identity.traits, traits):
            raise ChangedMeanwhile(names)
        if self._keeps_names:
            wrong += _changed_names(schema, identity.traits, traits)
        wrong += [FieldError(violation.name, violation.message) for violation in schema.validate(traits)]
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
        field.node(group=PROFILE, value=_shown(_at(traits, field.path)), disabled=field.read_only)
        for field in schema.fields()
    ]


def _at(value: Any, path: Sequence[str]) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _shown(value: Any) -> Any:
    """Return a value as a field shows it: plain values as they are, lists and objects as JSON text."""
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list | Mapping) else value


def _submitted(schema: Schema, before: Mapping[str, Any], *, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the traits of a submission. JSON replaces all traits. An HTML form leaves alone those that it has no field
    for; what it says about disabled fields does not count, since browsers do not send those."""
    if isinstance(fields.get("traits"), Mapping):
        return schema.submitted(fields)
    disabled = {field.name for field in schema.fields() if field.read_only}
    traits = schema.submitted({name: value for name, value in fields.items() if name not in disabled})
    shown = {field.path[0] for field in schema.fields()}
    return {**{name: value for name, value in before.items() if name not in shown}, **traits}


def _changed_read_only(
    schema: Schema, before: Mapping[str, Any], traits: Mapping[str, Any], *, opened_with: Mapping[str, Any]
) -> list[FieldError]:
    """Return a message for each trait that is read-only and that the submission wants otherwise; leaving it out, or as
    the form was opened with, changes nothing."""
    fields = [field for field in schema.fields() if field.read_only]
    known = (before, opened_with)
    changed = [
        field for field in fields if _at(traits, field.path) not in (None, *(_at(each, field.path) for each in known))
    ]
    return [FieldError(field.name, reason("read_only", _READ_ONLY)) for field in changed]


def _changed_names(schema: Schema, before: Mapping[str, Any], traits: Mapping[str, Any]) -> list[FieldError]:
    """Return a message for each trait whose change would change an identifier or an address."""
    names = schema.extract(before)
    changed = [
        field.name
        for field in schema.fields()
        if schema.extract(_with(before, field.path, _at(traits, field.path))) != names
    ]
    if not changed and schema.extract(traits) != names:
        changed = [_TRAITS]
    return [FieldError(name, reason("read_only", _READ_ONLY)) for name in changed]


def _with_read_only(schema: Schema, before: Mapping[str, Any], traits: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the traits with the read-only ones as they were."""
    for field in schema.fields():
        value = _at(before, field.path)
        if field.read_only and value is not None:
            traits = _with(traits, field.path, value)
    return traits


def _with(traits: Any, path: Sequence[str], value: Any) -> Any:
    """Return traits with a value at a path; where a text or a list is on the way, they are left to the validation."""
    if not path:
        return value
    if not isinstance(traits, Mapping):
        return traits
    return {**traits, path[0]: _with(traits.get(path[0], {}), path[1:], value)}


def _reaches_account(schema: Schema, identity: Identity, traits: Mapping[str, Any]) -> bool:
    """Return whether an identifier or an address changes: who has those can sign in, or recover the account."""
    return schema.extract(traits) != schema.extract(identity.traits)
