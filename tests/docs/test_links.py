"""Every link of every page leads somewhere."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, anchors, links, pages

ELSEWHERE = ("http://", "https://", "mailto:")
PICTURE = re.compile(r"!\[(?P<words>[^\]]*)\]\((?P<target>[^)\s]+)\)")


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    astray = [target for target in links(page) if not target.startswith(ELSEWHERE) and not leads(page, target)]
    assert astray == []


def leads(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    there = (page.parent / path).resolve() if path else page
    if not there.exists():
        return False
    return not anchor or (there.suffix == ".md" and anchor in anchors(there))


def test_every_picture_is_told_in_words_and_loads_fast() -> None:
    found = [(page, picture) for page in pages() for picture in PICTURE.finditer(page.read_text(encoding="utf-8"))]
    assert found
    for page, picture in found:
        assert len(picture["words"]) > 20, page
        assert (page.parent / picture["target"]).stat().st_size < 200_000, page


def test_every_page_can_be_reached_from_the_first() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or not page.exists():
            continue
        seen.add(page)
        targets = [(page.parent / target.partition("#")[0]).resolve() for target in links(page)]
        waiting += [target for target in targets if target.suffix == ".md"]
    documented = {page for page in pages() if page.is_relative_to(ROOT / "docs")}
    assert sorted(str(page.relative_to(ROOT)) for page in documented - seen) == []
