"""Identity schemas: which traits exist, which of them are identifiers, and whether given traits are valid.

JSON Schema (draft-04 to 2020-12, as `$schema` says) with Kratos' `ory.sh/kratos` extension. Validation fetches nothing,
and patterns run in linear time.
"""

import base64
import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import jsonschema_rs

from shopkeeper.errors import InvalidInput, NotFound
from shopkeeper.identity.coercion import coerce
from shopkeeper.identity.extraction import Extracted, extract, marked
from shopkeeper.identity.fields import Field, fields_of, identifier_label
from shopkeeper.identity.formats import FORMATS, UNCHECKED_EMAIL
from shopkeeper.identity.normalise import LONGEST, normalise_identifier
from shopkeeper.identity.sources import Fetch, SchemaBroken, load_document
from shopkeeper.identity.text_limits import unstorable
from shopkeeper.identity.traits import KEYWORD, FromTraits, Unreadable, read_traits
from shopkeeper.identity.values import Via
from shopkeeper.identity.violations import UNKNOWN, Violation, generic, too_long, violations
from shopkeeper.ui.messages import Message

MOST_VIOLATIONS = 50


class InvalidTraits(InvalidInput):
    """Raised for traits that violate their schema where no form is shown; `violations` lists the violations."""

    def __init__(self, broken: Sequence[Violation]) -> None:
        super().__init__(" ".join(f"{violation.name}: {violation.message.text}" for violation in broken[:5]))
        self.violations = tuple(broken)


class Schema:
    """A compiled identity schema. Raises `SchemaBroken` where the document is not a usable schema.

    `from_traits` has the credential types whose identifiers are traits (`facts.types_from_traits`); what the document
    says about other types is ignored.

    >>> schema = Schema("default", document, from_traits={"password": None})  # doctest: +SKIP
    >>> [violation.message_id for violation in schema.validate({"email": "x"})]  # doctest: +SKIP
    [4000040, 4000003]
    """

    def __init__(self, schema_id: str, document: Mapping[str, Any], *, from_traits: FromTraits) -> None:
        self.id = schema_id
        self.document = document
        try:
            self._validator = _compiled(document)
            self._traits = read_traits(document, from_traits=from_traits)
        except jsonschema_rs.ValidationError as broken:
            place = "/".join(str(step) for step in broken.instance_path)
            raise SchemaBroken(schema_id, f"{broken.message} (at #/{place})") from broken
        except (ValueError, RecursionError) as broken:
            raise SchemaBroken(schema_id, str(broken)) from broken
        self._fields = fields_of(self._traits)

    @property
    def url_id(self) -> str:
        """The id as it appears in a schema URL."""
        return url_id(self.id)

    def validate(self, traits: Any) -> list[Violation]:
        """Return the violations of these traits, a bounded number; an empty list means that they may be stored."""
        if lost := unstorable(traits):
            return [generic(*lost)]
        errors = islice(self._validator.iter_errors({"traits": traits}), MOST_VIOLATIONS)
        return violations(errors) or self._too_long(traits)

    def without_unknown(self, traits: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return traits without those that the schema does not have, where it refuses such (`additionalProperties`)."""
        errors = islice(self._validator.iter_errors({"traits": traits}), MOST_VIOLATIONS)
        unknown = [error for error in errors if error.kind.name in UNKNOWN and error.instance_path]
        paths = {(*error.instance_path[1:], name) for error in unknown for name in error.kind.value}
        known: Mapping[str, Any] = _without(traits, paths)
        return known

    def require_valid(self, traits: Any) -> None:
        """Raise `InvalidTraits` where the traits violate the schema."""
        if broken := self.validate(traits):
            raise InvalidTraits(broken)

    def extract(self, traits: Mapping[str, Any]) -> Extracted:
        """Return the identifiers and addresses in these traits."""
        return extract(self._traits, traits)

    def marked_traits(self, traits: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
        """Return the identifiers and addresses by the trait that holds them."""
        found: dict[str, list[str]] = {}
        for path, _, text in marked(self._traits, traits):
            found.setdefault(path[0], []).append(text)
        return found

    def fields(self) -> Sequence[Field]:
        """Return the traits as form fields, in the order of the schema."""
        return self._fields

    def identifier_label(self, types: Collection[str] | None = None) -> Message:
        """Return the identifier's label on a login form for these credential types; for any type where None."""
        return identifier_label(self._fields, types)

    def coerce(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        """Convert a form's flat text fields (`traits.name.first`) to traits of the schema's types."""
        return coerce(self._traits, flat)

    def submitted(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the traits of a submission: an object in JSON, `traits.…` fields in a form, which are converted to the
        types of the schema."""
        traits = fields.get("traits")
        if isinstance(traits, Mapping):
            return traits
        return self.coerce({k: v for k, v in fields.items() if k.startswith("traits.") and isinstance(v, str)})

    def _too_long(self, traits: Any) -> list[Violation]:
        """Return violations for identifiers and addresses that are too long to be keys in the database."""
        lengths = ((path, len(text), text) for path, _, text in marked(self._traits, traits))
        known = ((path, max(raw, len(normalise_identifier(text[:LONGEST])))) for path, raw, text in lengths)
        return [too_long(path, limit=LONGEST, actual=actual) for path, actual in known if actual > LONGEST]


class Schemas:
    """All configured schemas, by id.

    Args:
        selectable: the ids of the schemas that visitors may choose; the default one they always may.
    """

    def __init__(self, schemas: Sequence[Schema], default_id: str, *, selectable: Collection[str] = ()) -> None:
        self._by_id = {schema.id: schema for schema in schemas}
        self._by_url_id = {schema.url_id: schema for schema in schemas}
        if default_id not in self._by_id:
            raise SchemaBroken(default_id, "it is the default schema, and there is no schema of this id")
        self._default_id = default_id
        self._selectable = {default_id, *selectable}

    @classmethod
    async def load(
        cls,
        sources: Sequence[tuple[str, str]],
        default_id: str,
        *,
        from_traits: FromTraits,
        selectable: Collection[str] = (),
        fetch: Fetch | None = None,
    ) -> "Schemas":
        """Load every schema from its URL. Raises `SchemaBroken` for the first that cannot be used."""
        schemas = [
            Schema(schema_id, await load_document(schema_id, url, fetch=fetch), from_traits=from_traits)
            for schema_id, url in sources
        ]
        return cls(schemas, default_id, selectable=selectable)

    @property
    def default(self) -> Schema:
        """The schema of identities that name none."""
        return self._by_id[self._default_id]

    def all(self) -> Sequence[Schema]:
        """Return every schema, in the order of the configuration."""
        return tuple(self._by_id.values())

    def require(self, schema_id: str | None) -> Schema:
        """Return the schema with this id, or the default one for None. Raises `InvalidInput` where it is unknown."""
        schema = self._by_id.get(schema_id or self._default_id)
        if schema is None:
            raise InvalidInput("There is no identity schema of this id; GET /schemas lists those there are.")
        return schema

    def require_selectable(self, schema_id: str | None) -> Schema:
        """Return the schema that a visitor has chosen, or the default one for None.

        Raises `InvalidInput` where it is unknown, or is the operator's to give (`selfservice_selectable`).
        """
        if schema_id and schema_id not in self._selectable:
            raise InvalidInput(
                "This identity schema is not open to sign-ups: leave identity_schema out, or set "
                "selfservice_selectable for it."
            )
        return self.require(schema_id)

    def require_public(self, name: str) -> Schema:
        """Return the schema that a URL names, by its id or by its id in base64url. Raises `NotFound`."""
        schema = self._by_id.get(name) or self._by_url_id.get(name)
        if schema is None:
            raise NotFound("There is no identity schema of this id; GET /schemas lists those there are.")
        return schema


def _without(value: Any, paths: Collection[tuple[Any, ...]], at: tuple[Any, ...] = ()) -> Any:
    if isinstance(value, Mapping):
        return {name: _without(each, paths, (*at, name)) for name, each in value.items() if (*at, name) not in paths}
    if isinstance(value, list):
        return [_without(each, paths, (*at, index)) for index, each in enumerate(value)]
    return value


def url_id(schema_id: str) -> str:
    """Return a schema's id as it appears in a URL.

    >>> url_id("default")
    'ZGVmYXVsdA'
    """
    return base64.urlsafe_b64encode(schema_id.encode()).rstrip(b"=").decode()


def _compiled(document: Mapping[str, Any]) -> jsonschema_rs.Validator:
    copied = copy.deepcopy(dict(document))
    for node in _objects(copied):
        _refuse_remote(node)
        _check_as_address(node)
    return jsonschema_rs.validator_for(
        copied,
        formats=dict(FORMATS),
        validate_formats=True,
        pattern_options=jsonschema_rs.RegexOptions(),
        offline=True,
    )


def _objects(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    pending: list[Any] = [document]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            yield node
        pending.extend(node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())


def _refuse_remote(node: Mapping[str, Any]) -> None:
    for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
        reference = node.get(keyword)
        if isinstance(reference, str) and not reference.startswith("#"):
            raise Unreadable(f"the reference {reference!r} leads out of the document; only '#/…' is followed")


def _check_as_address(node: dict[str, Any]) -> None:
    """Check every value that we send messages to as an address, even where the schema declares no format."""
    for via in _vias(node.get(KEYWORD)):
        wanted = _ADDRESS_FORMATS.get((via, str(node.get("format"))))
        node.update({"format": wanted} if wanted else {})


def _vias(extension: Any) -> list[str]:
    declared = extension if isinstance(extension, dict) else {}
    credentials = declared.get("credentials")
    places = [*declared.values(), *(credentials.values() if isinstance(credentials, dict) else ())]
    return [str(place.get("via")) for place in places if isinstance(place, dict)]


_ADDRESS_FORMATS: Mapping[tuple[str, str], str] = {
    (Via.EMAIL, "None"): "email",
    (Via.EMAIL, "no-validate"): UNCHECKED_EMAIL,
    (Via.SMS, "None"): "tel",
}
