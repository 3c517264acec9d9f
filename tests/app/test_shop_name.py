"""The shop's name, one for pages and mails."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from shopkeeper.app.shop_name import shop_name
from shopkeeper.settings import load

NAMED = {"courier": {"smtp": {"from_name": "Corner & Sons"}}}
STORES = {"stores": [{"id": "tea"}, {"id": "tins"}], "default_store": "tins"}


@pytest.mark.parametrize(
    ("sections", "demo", "name"),
    [
        (NAMED, False, "Corner & Sons"),
        ({**NAMED, **STORES}, True, "Corner & Sons"),
        ({}, True, "Quince & Kettle"),
        (STORES, True, "Quince & Kettle"),
        (STORES, False, "tins"),
        ({}, False, "Shopkeeper"),
    ],
)
def test_is_that_of_the_sender_the_demo_or_the_store(
    tmp_path: Path, sections: dict[str, Any], demo: bool, name: str
) -> None:
    file = tmp_path / "shopkeeper.yml"
    file.write_text(yaml.safe_dump({"dsn": "memory", **sections}))
    assert shop_name(load([file], {}, dev=True, demo=demo)) == name
