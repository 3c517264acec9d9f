"""The figures of a run are written, and a later run is held against them."""

from pathlib import Path

import pytest
from rich.console import Console

from bench.__main__ import _arguments, _print
from bench.outcome import Row, Target
from bench.results import Results, load, save

WHOAMI = Row("whoami", 0.5, "× bare", "5,000/s", Target(least=1.0, unit="× bare"))
LOGIN = Row("login", 20.0, "ms", "", Target(most=10, unit="ms"))


def test_figures_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "results.json"
    save([WHOAMI, LOGIN], file, circumstances="2 cores\nof some machine")
    assert load(file).figures == {"whoami": 0.5, "login": 20.0}


@pytest.mark.parametrize("text", ["", "[]", '{"rows": [{}], "taken_at": ""}', None])
def test_another_file_is_refused_with_a_sentence(
    tmp_path: Path, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SystemExit):
        _arguments(["--against", str(file)])
    assert "has no figures of an earlier run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "shown"),
    [(0.25, "0.25 × bare, + 100 %"), (1.0, "1.00 × bare, − 50 %"), (0.5, "0.50 × bare, + 0 %"), (0.0, "0.000 × bare")],
)
def test_a_figure_is_held_against_the_earlier_one(before: float, shown: str) -> None:
    assert Results("", {"whoami": before}).change(WHOAMI) == shown


def test_a_new_row_has_no_earlier_figure() -> None:
    assert Results("", {}).change(WHOAMI) == ""


def test_both_are_printed() -> None:
    console = Console(width=200)
    with console.capture() as captured:
        earlier = Results("2026-11-30T12:34:56+00:00", {"whoami": 0.25})
        _print(console, [WHOAMI, LOGIN], {}, earlier, circumstances="2 cores")
    assert "On 2026-11-30T12:34" in captured.get()
    assert "0.25 × bare, + 100 %" in captured.get()
