"""Jsonnet of mails on the pages is evaluated with every mail; mappers are tested in `test_providers.py`."""

import base64
import json

import pytest

from shopkeeper.http_client import GuardedClient
from shopkeeper.jsonnet.evaluator import Jsonnet
from shopkeeper.notify.request_bodies import load_body
from shopkeeper.notify.samples import sample_messages
from tests.docs.pages import Block, all_blocks

MAILS = [block for block in all_blocks("jsonnet") if "extVar" not in block.text]


@pytest.mark.parametrize("block", MAILS, ids=str)
async def test_makes_json_of_every_mail(block: Block) -> None:
    jsonnet = Jsonnet()
    reference = "base64://" + base64.b64encode(block.text.encode()).decode()
    try:
        async with GuardedClient() as client:
            body = await load_body(reference, client, jsonnet)
            sent = [json.loads(await body.of(message)) for message in sample_messages()]
    finally:
        await jsonnet.close()
    assert {mail["to"] for mail in sent} == {"ada@example.org"}
    assert [mail["code"] for mail in sent if "code" in mail] == ["042137"]
