"""Rows and targets: what counts as met, and rounding that never shows a figure as better than it is."""

import pytest

from bench.outcome import Row, Target, ratio


@pytest.mark.parametrize(
    ("target", "figure", "verdict"),
    [
        (Target(least=1.0), 1.0, "met"),
        (Target(least=1.0), 0.999, "missed"),
        (Target(most=1.5), 1.5, "met"),
        (Target(most=1.5), 1.51, "missed"),
        (Target(least=0.8, most=1.2), 1.3, "missed"),
        (None, 1.0, ""),
    ],
)
def test_a_row_says_whether_its_target_is_met(target: Target | None, figure: float, verdict: str) -> None:
    assert Row("what", figure, "×", "", target).verdict == verdict


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Target(least=0.3, unit="× bare"), "≥ 0.3 × bare"),
        (Target(least=1000, unit="/s"), "≥ 1,000 /s"),
        (Target(most=20, unit="ms"), "≤ 20 ms"),
        (Target(least=0.8, most=1.2, unit="×"), "0.8 to 1.2 ×"),
    ],
)
def test_a_target_is_printed_as_the_design_writes_it(target: Target, text: str) -> None:
    assert str(target) == text


@pytest.mark.parametrize(
    ("figure", "text"),
    [(0.0317, "0.031 ×"), (0.849, "0.84 ×"), (0.999, "0.99 ×"), (12.34, "12.3 ×"), (1234.5, "1,234 ×"), (0, "0 ×")],
)
def test_a_figure_is_never_rounded_up_to_its_target(figure: float, text: str) -> None:
    assert Row("what", figure, "×", "", Target(least=0.85)).shown == text


@pytest.mark.parametrize(("figure", "text"), [(1.501, "1.51 s"), (20.01, "20.1 s"), (150.2, "151 s"), (1.5, "1.50 s")])
def test_a_figure_is_never_rounded_down_to_its_target_where_less_is_better(figure: float, text: str) -> None:
    assert Row("what", figure, "s", "", Target(most=1.5)).shown == text


def test_a_ratio_compares_neighbours_so_that_common_slowness_does_not_count() -> None:
    assert ratio([100, 50, 10], [200, 100, 20]) == 0.5
