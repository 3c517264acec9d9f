"""The configurations that the pages show can be read; a server can start with those that are complete."""

import json
from pathlib import Path

import pytest

from shopkeeper.app.credential_facts import CREDENTIAL_FACTS
from shopkeeper.identity.facts import types_from_traits
from shopkeeper.identity.schema import Schema
from shopkeeper.settings import findings, load
from tests.docs.pages import Block, all_blocks

SHOWN = [block for block in all_blocks("yaml") if block.info == "yaml"]


def written(block: Block, folder: Path) -> Path:
    file = folder / "shopkeeper.yml"
    file.write_text(block.text, encoding="utf-8")
    return file


@pytest.mark.parametrize("block", SHOWN, ids=str)
def test_a_configuration_that_is_shown_can_be_read(block: Block, tmp_path: Path) -> None:
    settings = load([written(block, tmp_path)], {}, dev=False, demo=False)
    assert settings.not_in_effect() == []


@pytest.mark.parametrize("block", [block for block in SHOWN if "dsn:" in block.text], ids=str)
def test_a_whole_configuration_has_no_fault_but_its_secrets(block: Block, tmp_path: Path) -> None:
    """A secret on a page is known to everyone, so the server must not start with it."""
    settings = load([written(block, tmp_path)], {}, dev=False, demo=False)
    told = [finding.sentence for finding in findings(settings) if finding.level != "notice"]
    assert [sentence for sentence in told if "from a manual" not in sentence] == []


@pytest.mark.parametrize("block", [block for block in all_blocks("json") if block.info == "json schema"], ids=str)
def test_an_identity_schema_that_is_shown_is_valid(block: Block) -> None:
    schema = Schema("shown", json.loads(block.text), from_traits=types_from_traits(CREDENTIAL_FACTS))
    assert any("password" in field.identifies for field in schema.fields())


def test_every_json_that_is_shown_is_json() -> None:
    for block in all_blocks("json"):
        assert json.loads(block.text) is not None, block


def test_the_pages_show_configurations() -> None:
    assert len(SHOWN) > 3
