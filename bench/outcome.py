"""Results of benchmarks: rows of the table, each with its target, met or missed."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal


class Unmeasured(Exception):
    """Something could not be measured; the sentence gives the reason."""


class Missing(Unmeasured):
    """A program is not there that no other benchmark needs; the sentence says which. The run does not fail for it."""


@dataclass(frozen=True, slots=True)
class Target:
    """A target: at least or at most an amount of a unit."""

    least: float | None = None
    most: float | None = None
    unit: str = ""

    def met(self, figure: float) -> bool:
        """Return whether a figure reaches the target."""
        return (self.least is None or figure >= self.least) and (self.most is None or figure <= self.most)

    def __str__(self) -> str:
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g} {self.unit}".strip()
        return f"≥ {self.least:,g} {self.unit}" if self.least is not None else f"≤ {self.most:,g} {self.unit}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table. Without a target it is there for comparison; `context` has the absolute figures."""

    what: str
    figure: float
    unit: str
    context: str
    target: Target | None = None

    @property
    def verdict(self) -> str:
        """Met or missed; empty without a target."""
        if self.target is None:
            return ""
        return "met" if self.target.met(self.figure) else "missed"

    @property
    def shown(self) -> str:
        """The figure as it is printed: rounded to the worse side, so that none seems to reach a target that it
        misses."""
        if isinstance(self.figure, int):
            return f"{self.figure:,} {self.unit}"
        digits = next((digits for below, digits in _DIGITS if self.figure < below), 0)
        worse = ROUND_CEILING if self.target is not None and self.target.least is None else ROUND_FLOOR
        cut = Decimal(str(self.figure)).quantize(Decimal(1).scaleb(-digits), rounding=worse)
        return f"{cut:,} {self.unit}"


_DIGITS = ((0.1, 3), (10, 2), (100, 1))
"""The number of decimals for figures below a limit."""


def middle(figures: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(figures)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the ratios of neighbouring windows, so that what slows both down does not count."""
    return middle([a / b for a, b in zip(ours, theirs, strict=True)])
