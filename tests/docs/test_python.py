"""The Python of the pages: all of it compiles, and the programs of the walkthroughs run as shown."""

import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from tests.docs.likeness import differences
from tests.docs.pages import ROOT, Block, all_blocks, blocks

STORIES = ROOT / "docs" / "stories"


def programs() -> list[tuple[Block, Block]]:
    """Return the programs of the walkthroughs, each with the output that the page shows below it."""
    told = [block for page in sorted(STORIES.glob("*.md")) for block in blocks(page)]
    return [(one, other) for one, other in pairwise(told) if one.language == "python"]


@pytest.mark.parametrize("block", all_blocks("python"), ids=str)
def test_every_block_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize(("program", "shown"), programs(), ids=str)
def test_a_program_of_a_walkthrough_prints_what_is_shown(
    program: Block, shown: Block, addresses: Mapping[str, str], tmp_path: Path
) -> None:
    text = program.text
    for known, real in addresses.items():
        text = text.replace(known, real)
    file = tmp_path / "example.py"
    file.write_text(text, encoding="utf-8")
    run = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert shown.language == "text"
    assert differences(shown.text, run.stdout) == []
