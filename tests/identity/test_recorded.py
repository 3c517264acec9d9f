"""Compared with what Kratos answered: the fields of its forms, and its messages about bad traits."""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from shopkeeper.identity.schema import Schema
from tests.identity.conftest import read_schema

MASKED_ADDRESS = re.compile(r"<(\w+-\d+)@>")
CONVERSATIONS = ("native_registration", "native_login", "settings")


@pytest.fixture(scope="module")
def recorded(shared: Path) -> Path:
    return shared / "contracts/kratos/conversations"


@pytest.fixture(scope="module")
def schema(recorded: Path) -> Schema:
    settings = yaml.safe_load((recorded / "base.yml").read_text())
    [source] = settings["identity"]["schemas"]
    return read_schema(source["id"], json.loads(base64.b64decode(source["url"].removeprefix("base64://"))))


def exchanges(recorded: Path) -> Iterator[dict[str, Any]]:
    for name in CONVERSATIONS:
        text = (recorded / f"recorded/base/{name}.json").read_text()
        yield from json.loads(MASKED_ADDRESS.sub(r"\1@example.org", text))


def nodes(exchange: dict[str, Any]) -> list[dict[str, Any]]:
    body = exchange["response"]["body"]
    shown = body["ui"].get("nodes") if isinstance(body, dict) and "ui" in body else None
    return shown or []


def no_words(node: dict[str, Any]) -> dict[str, Any]:
    label = {key: value for key, value in node["meta"]["label"].items() if key != "text"}
    attributes = {key: value for key, value in node["attributes"].items() if key != "value"}
    return {**node, "attributes": attributes, "messages": [], "meta": {"label": label}}


def test_the_fields_are_those_of_the_registration_form(recorded: Path, schema: Schema) -> None:
    opened = next(exchange for exchange in exchanges(recorded) if exchange["say"] == "opens")
    wanted = [no_words(node) for node in nodes(opened) if node["attributes"]["name"].startswith("traits")]
    assert [no_words(field.node().to_wire()) for field in schema.fields()] == wanted


def test_the_identifier_is_called_what_kratos_calls_it(recorded: Path, schema: Schema) -> None:
    label = schema.identifier_label()
    recorded_labels = [
        node["meta"]["label"]
        for exchange in exchanges(recorded)
        for node in nodes(exchange)
        if node["attributes"].get("name") == "identifier"
    ]
    assert recorded_labels
    assert all((one["id"], one["context"]) == (label.id, dict(label.context)) for one in recorded_labels)


def test_bad_traits_get_the_messages_that_kratos_gave(recorded: Path, schema: Schema) -> None:
    compared = 0
    for exchange in exchanges(recorded):
        said = _said(exchange)
        traits = (exchange["request"].get("body") or {}).get("traits")
        if not said or traits is None:
            continue
        ours = {
            (violation.name, violation.message_id, json.dumps(_masked(_sent(violation.context)), sort_keys=True))
            for violation in schema.validate(traits)
        }
        assert ours == said, exchange["say"]
        compared += 1
    assert compared >= 3


def _sent(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message's context without the wording, which never leaves the server."""
    return {name: value for name, value in context.items() if name != "wording"}


def _said(exchange: dict[str, Any]) -> set[tuple[str, int, str]]:
    return {
        (node["attributes"]["name"], message["id"], json.dumps(message.get("context", {}), sort_keys=True))
        for node in nodes(exchange)
        if str(node["attributes"].get("name", "")).startswith("traits")
        for message in node["messages"]
    }


def _masked(context: dict[str, Any]) -> dict[str, Any]:
    return {key: "<reason>" if key == "reason" else value for key, value in context.items()}
