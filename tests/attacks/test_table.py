"""docs/security.md states for each of the 96 rows whether it applies, and names every test that proves it."""

from tests.attacks.table import ROWS, by_row, printed, shown, states


def test_every_row_is_in_the_table_once_and_in_order() -> None:
    assert [row for row, _, _ in states()] == list(ROWS)


def test_every_row_says_why() -> None:
    assert all(state in {"now", "later", "no"} and said for _, state, said in states())


def test_rows_that_apply_now_have_tests_and_other_rows_have_none() -> None:
    assert {row for row, state, _ in states() if state == "now"} == set(by_row())


def test_the_page_names_all_existing_tests_and_no_others() -> None:
    assert shown() == printed(), "write the list with `python -m tests.attacks.table`"
