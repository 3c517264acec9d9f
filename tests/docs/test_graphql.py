"""The GraphQL of the pages is valid, and the shop's walkthrough works as shown."""

import json
import urllib.request
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import pytest
from graphql import OperationDefinitionNode, parse, validate

from shopkeeper.graphql.schema import core_schema
from tests.docs.likeness import list_differences
from tests.docs.pages import ROOT, Block, all_blocks, blocks
from tests.services.shopkeeper_server import Commerce

STORY = ROOT / "docs" / "stories" / "shop.md"


@pytest.mark.parametrize("block", all_blocks("graphql"), ids=str)
def test_a_document_that_is_shown_is_valid(block: Block) -> None:
    assert [error.message for error in validate(core_schema(), parse(block.text))] == []


class Storefront:
    """A shopper who sends the walkthrough's operations in order.

    Their variables come from earlier answers: `$cart`, `$entry` and `$order` are the ids seen last.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._token = ""
        self.seen: dict[str, str] = {}

    def sign_in(self, **fields: Any) -> None:
        self._token = self._post("/signin", fields)["authorization"]

    def ask(self, document: str) -> Any:
        [operation] = [node for node in parse(document).definitions if isinstance(node, OperationDefinitionNode)]
        names = [variable.variable.name.value for variable in operation.variable_definitions or ()]
        answer = self._post("/graphql", {"query": document, "variables": {name: self.seen[name] for name in names}})
        self.seen.update(ids_in(answer))
        return answer

    def _post(self, path: str, fields: Mapping[str, Any]) -> Any:
        headers = {"content-type": "application/json"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(f"{self._url}{path}", json.dumps(fields).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def ids_in(answer: Any) -> Iterator[tuple[str, str]]:
    """Yield the ids of carts, their entries and orders in an answer."""
    names = {"cart": "cart", "getCart": "cart", "order": "order"}
    if isinstance(answer, list):
        for value in answer:
            yield from ids_in(value)
    if isinstance(answer, dict):
        for name, value in answer.items():
            if isinstance(value, dict) and name in names and "id" in value:
                yield names[name], value["id"]
            if name == "entries" and value and "id" in value[0]:
                yield "entry", value[0]["id"]
            yield from ids_in(value)


def test_the_walkthrough_of_the_shop_works(shop: Commerce) -> None:
    visitor = Storefront(shop.public)
    visitor.sign_in()
    told = blocks(STORY)
    for block, following in pairwise([*told, Block(STORY, 0, "", "")]):
        if block.language == "json" and block.info.endswith("/signin"):
            visitor.sign_in(**{**json.loads(block.text), "authHint": {"oldCartId": visitor.seen["cart"]}})
        if block.language != "graphql":
            continue
        answer = visitor.ask(block.text)
        shown = json.loads(following.text) if following.language == "json" else {"data": "…"}
        assert list_differences(shown, answer) == [], block
