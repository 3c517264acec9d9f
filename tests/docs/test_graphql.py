"""The GraphQL of the pages is valid, whatever the server makes of it. `test_examples.py` sends it."""

import pytest
from graphql import parse, validate

from shopkeeper.graphql.schema import core_schema
from tests.docs.pages import Block, all_blocks


@pytest.mark.parametrize("block", all_blocks("graphql"), ids=str)
def test_a_document_that_is_shown_is_valid(block: Block) -> None:
    assert [error.message for error in validate(core_schema(), parse(block.text))] == []
