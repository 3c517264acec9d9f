"""Which tests `make quick` runs."""

from pathlib import Path

import pytest

from tests.quick import CORE, ELSEWHERE, ROOT, announced, chosen


@pytest.mark.parametrize(
    ("changed", "tests"),
    [
        ("src/shopkeeper/flows/pipeline.py", ["tests/flows"]),
        ("src/shopkeeper/commerce/embedded/store.py", ["tests/commerce"]),
        ("src/shopkeeper/throttle.py", ["tests/throttle"]),
        ("src/shopkeeper/http_client.py", ["tests/test_http_client.py"]),
        ("src/shopkeeper/http/pages/layout.py", ["tests/http/pages"]),
        ("src/shopkeeper/web/mail/welcome.txt.j2", ["tests/notify"]),
        ("src/shopkeeper/web/pages/login.html.j2", ["tests/http/pages"]),
        ("src/shopkeeper/cli.py", ["tests/app"]),
        ("tests/tokens/test_sealed.py", ["tests/tokens/test_sealed.py"]),
        ("tests/tokens/test_that_was_deleted.py", []),
        ("tests/flows/conftest.py", ["tests/flows"]),
        ("tests/conftest.py", []),
        ("docs/stories/shop.md", ["tests/docs"]),
        ("LICENSE", []),
    ],
)
def test_a_changed_file_brings_the_tests_of_its_room(changed: str, tests: list[str]) -> None:
    assert chosen([changed]) == [*CORE, *tests]


def test_a_room_is_run_once_and_the_core_always() -> None:
    assert chosen([]) == list(CORE)
    assert chosen(["src/shopkeeper/flows/flow.py", "src/shopkeeper/flows/store.py"]) == [*CORE, "tests/flows"]


def test_what_runs_is_said_also_where_nothing_has_changed() -> None:
    assert announced(chosen([])) == "Nothing has changed that has tests of its own: only the core runs."
    assert announced(chosen(["src/shopkeeper/flows/flow.py"])).endswith("what has changed: tests/flows")


def test_every_place_that_is_named_exists() -> None:
    named = [*CORE, *ELSEWHERE, *ELSEWHERE.values()]
    assert [place for place in named if not (ROOT / place).exists()] == []


def test_every_package_has_its_room() -> None:
    packages = [folder for folder in (ROOT / "src" / "shopkeeper").iterdir() if (folder / "__init__.py").exists()]
    assert packages
    assert [each.name for each in packages if not _tests_of(each)] == []


def _tests_of(package: Path) -> list[str]:
    return chosen([str(package.relative_to(ROOT) / "new.py")])[len(CORE) :]
