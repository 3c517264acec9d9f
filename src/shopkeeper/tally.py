"""Counts what happens, for the metrics. Labels are constants of the code, never what a client sent."""

from collections import Counter
from collections.abc import Mapping


class Tally:
    """Counters by name and labels: plain numbers, because only one thread counts."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()

    def count(self, name: str, *labels: str) -> None:
        """Count one."""
        self._counts[name, *labels] += 1

    def of(self, name: str) -> Mapping[tuple[str, ...], int]:
        """Return the counts of a name, by their labels."""
        return {key[1:]: count for key, count in self._counts.items() if key[0] == name}
