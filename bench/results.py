"""The figures of a run as a file, so that a later run can be held against them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.outcome import Row

LATEST = Path(__file__).with_name("results") / "latest.json"


@dataclass(frozen=True, slots=True)
class Results:
    """The figures of an earlier run, by row, and when it was."""

    taken_at: str
    figures: Mapping[str, float]

    def change(self, row: Row) -> str:
        """Return the earlier figure of a row and by how much the new one is higher or lower; empty where there is none.

        >>> Results("", {"getCart": 0.1}).change(Row("getCart", 0.2, "× bare", ""))
        '0.10 × bare, + 100 %'
        """
        before = self.figures.get(row.what)
        if before is None:
            return ""
        shown = Row(row.what, before, row.unit, "", row.target).shown
        if not before:
            return shown
        percent = round((row.figure / before - 1) * 100)
        return f"{shown}, {'+' if percent >= 0 else '−'} {abs(percent)} %"


def save(rows: Sequence[Row], file: Path, *, circumstances: str) -> None:
    """Write the figures of a run."""
    file.parent.mkdir(parents=True, exist_ok=True)
    written = {
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "circumstances": circumstances.splitlines(),
        "rows": [
            {"what": row.what, "figure": row.figure, "unit": row.unit, "verdict": row.verdict, "context": row.context}
            for row in rows
        ],
    }
    file.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n")


def load(file: Path) -> Results:
    """Read the figures of an earlier run. Raises `ValueError` where the file is not one of ours."""
    try:
        read = json.loads(file.read_text())
        return Results(read["taken_at"], {row["what"]: row["figure"] for row in read["rows"]})
    except (OSError, ValueError, KeyError, TypeError) as failed:
        raise ValueError(f"{file} has no figures of an earlier run ({type(failed).__name__})") from failed
