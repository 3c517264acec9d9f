"""Kratos' published description of its API (OpenAPI 3.0), converted into JSON Schemas to validate answers.

OpenAPI 3.0 says `nullable` where JSON Schema says `null`, and selects one of several schemas by `discriminator`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import jsonschema_rs

from tests.contract.recorder import Answer
from tests.services.shopkeeper_server import Commerce

VERBS = ("get", "put", "post", "delete", "patch")
ADMIN_ONLY = ("/admin/", "/version")
# A method that no route has: a path that exists refuses it, a path that does not is not found.
NO_SUCH_METHOD = "PROBE"
NOBODY = "6f1c1d0e-0000-4000-8000-000000000000"


@dataclass(frozen=True, order=True)
class Operation:
    """A method of a path, as the description names them."""

    path: str
    method: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def admin(self) -> bool:
        return self.path.startswith(ADMIN_ONLY)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(self.path)))


@dataclass(frozen=True)
class Departure:
    """A place where an answer is not as described, and the rule that it breaks."""

    operation: Operation
    status: int
    place: str
    rule: str
    told: str = ""

    def __str__(self) -> str:
        return f"{self.operation} {self.status} {self.place}: {self.rule} {self.told}"

    @property
    def kind(self) -> tuple[str, ...]:
        """The properties that make two departures equal. The error object is shared by all operations."""
        where = () if self.place.startswith("/error") else (str(self.operation), str(self.status))
        return (*where, self.place, self.rule)


class Description:
    """The description: its operations, and the validation of answers."""

    def __init__(self, file: Path) -> None:
        self._document = json.loads(file.read_text())
        self._definitions = {name: to_json_schema(s) for name, s in self._document["components"]["schemas"].items()}
        self._validators: dict[tuple[Operation, int, bool], jsonschema_rs.Draft202012Validator] = {}
        self.operations = sorted(
            Operation(path, verb.upper())
            for path, verbs in self._document["paths"].items()
            for verb in VERBS & verbs.keys()
        )

    def operation_of(self, answer: Answer) -> Operation | None:
        """Return the operation that an answer belongs to; of several paths that match, the one with fewer
        parameters."""
        fitting = [o for o in self.operations if o.method == answer.method and o.pattern.fullmatch(answer.path)]
        return min(fitting, key=lambda operation: operation.path.count("{"), default=None)

    def departures(self, operation: Operation, answer: Answer, *, formats: bool = True) -> list["Departure"]:
        """Return where an answer departs from the description. `formats` also checks formats of texts, such as
        dates."""
        schema = self._schema(operation, answer.status)
        if schema is None:
            return [Departure(operation, answer.status, "", "this status is not described")]
        if not schema:
            told = "there should be no body" if answer.body else ""
        else:
            told = "" if self._is_json(answer) else f"the content type is {answer.content_type or 'missing'}, not JSON"
        if told or not schema:
            return [Departure(operation, answer.status, "", told)] if told else []
        return [
            Departure(operation, answer.status, _place(error), str(error.schema_path[-1]), error.message)
            for error in self._validator(operation, answer.status, formats).iter_errors(json.loads(answer.body))
        ]

    def _validator(self, operation: Operation, status: int, formats: bool) -> jsonschema_rs.Draft202012Validator:
        key = (operation, status, formats)
        if key not in self._validators:
            whole = {**(self._schema(operation, status) or {}), "$defs": self._definitions}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole, validate_formats=formats)
        return self._validators[key]

    def _is_json(self, answer: Answer) -> bool:
        return answer.content_type.partition(";")[0] == "application/json"

    def _schema(self, operation: Operation, status: int) -> dict[str, Any] | None:
        """Return the schema of a status' body; empty where there is no body, None where the status is not described."""
        responses = self._document["paths"][operation.path][operation.method.lower()]["responses"]
        described = responses.get(str(status)) or (responses.get("default") if status >= 400 else None)
        if described is None:
            return None
        name = described.get("$ref", "").rpartition("/")[2]
        content = (self._document["components"]["responses"][name] if name else described).get("content", {})
        return to_json_schema(content["application/json"]["schema"]) if content else {}


def _place(error: jsonschema_rs.ValidationError) -> str:
    """Return the place in the answer, without the indices of lists."""
    return "".join("/*" if isinstance(step, int) else f"/{step}" for step in error.instance_path)


def to_json_schema(schema: Any) -> Any:
    """Convert a schema of OpenAPI 3.0 into one of JSON Schema 2020-12."""
    if isinstance(schema, list):
        return [to_json_schema(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: to_json_schema(value) for key, value in schema.items() if key not in {"nullable", "discriminator"}}
    if "$ref" in changed and isinstance(changed["$ref"], str):
        changed["$ref"] = changed["$ref"].replace("#/components/schemas/", "#/$defs/")
    if isinstance(schema.get("discriminator"), dict) and "oneOf" in schema:
        changed = _chosen(schema["discriminator"])
    if changed.get("format") == "uuid4":
        changed["format"] = "uuid"
    return {"anyOf": [{"type": "null"}, changed]} if schema.get("nullable") is True else changed


def _chosen(discriminator: Mapping[str, Any]) -> dict[str, Any]:
    """Select one of several schemas by a property; a value that is not listed is a departure."""
    name, serializers = discriminator["propertyName"], discriminator["mapping"]
    cases = [
        {
            "if": {"properties": {name: {"const": value}}},
            "then": {"$ref": reference.replace("#/components/schemas/", "#/$defs/")},
        }
        for value, reference in serializers.items()
    ]
    return {"type": "object", "required": [name], "properties": {name: {"enum": list(serializers)}}, "allOf": cases}


# -- the operations of a running server --------------------------------------------------------------------------------


def implemented(description: Description, shop: Commerce) -> Iterator[Operation]:
    """Yield the operations that a server answers: their path is routed, and they are not refused or 501."""
    for operation in description.operations:
        url = (shop.admin if operation.admin else shop.public) + re.sub(r"\{\w+\}", NOBODY, operation.path)
        routed = _status(NO_SUCH_METHOD, url) != 404
        if routed and _status(operation.method, url) not in {405, 501}:
            yield operation


def _status(method: str, url: str) -> int:
    body = None if method in {"GET", NO_SUCH_METHOD} else b"{}"
    request = Request(url, body, {"Content-Type": "application/json", "Accept": "application/json"}, method=method)
    try:
        with urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except HTTPError as refused:
        with refused:
            return refused.code
