"""docs/security.md says of each of the 96 rows whether it concerns us, and names every test that proves it."""

from tests.attacks.table import ROWS, by_row, printed, shown, states


def test_every_row_is_in_the_table_once_and_in_order() -> None:
    assert [row for row, _, _ in states()] == list(ROWS)


def test_every_row_says_why() -> None:
    assert all(state in {"now", "later", "no"} and said for _, state, said in states())


def test_what_concerns_us_now_has_tests_and_nothing_else_has() -> None:
    assert {row for row, state, _ in states() if state == "now"} == set(by_row())


def test_the_page_names_the_tests_that_there_are_and_no_others() -> None:
    assert shown() == printed(), "write the list with `python -m tests.attacks.table`"
