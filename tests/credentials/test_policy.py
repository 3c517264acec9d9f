"""The rules for a new password."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shopkeeper.credentials.breached import CommonPasswords, open_list
from shopkeeper.credentials.policy import PasswordPolicy, _near, _shares_more_than_half, alike

ADA = "ada@example.org"


async def verdict(policy: PasswordPolicy, password: str, *identifiers: str) -> tuple[int, dict[str, Any]] | None:
    broken = await policy.check(password, identifiers=identifiers)
    assert len(broken) <= 1
    return (broken[0].id, dict(broken[0].context)) if broken else None


class TestLength:
    @pytest.mark.parametrize(
        ("password", "expected"),
        [
            ("abc", (4000032, {"min_length": 8, "actual_length": 3})),
            ("", (4000032, {"min_length": 8, "actual_length": 0})),
            ("1234567", (4000032, {"min_length": 8, "actual_length": 7})),
            ("äöüßéèñ", (4000032, {"min_length": 8, "actual_length": 7})),  # fourteen bytes, seven characters
            ("😀" * 7, (4000032, {"min_length": 8, "actual_length": 7})),
            ("x" * 1025, (4000033, {"max_length": 1024, "actual_length": 1025})),
            ("12345678", None),
            ("äöüßéèñç", None),
            ("😀" * 8, None),
            ("x" * 64, None),
            ("x" * 1024, None),
            ("        ", None),  # taken as typed; the lists of known passwords decide whether it is a good one
        ],
    )
    async def test_the_length_is_counted_in_code_points(
        self, password: str, expected: tuple[int, dict[str, Any]] | None
    ) -> None:
        assert await verdict(PasswordPolicy(), password, ADA) == expected

    @pytest.mark.parametrize("bounds", [(0, 10), (9, 8), (8, 1025)])
    def test_bounds_that_cannot_be_met_are_refused_at_the_start(self, bounds: tuple[int, int]) -> None:
        with pytest.raises(ValueError, match="password lengths"):
            PasswordPolicy(min_length=bounds[0], max_length=bounds[1])

    async def test_row_6_2_5_nothing_is_asked_of_its_characters(self) -> None:
        for password in (
            "lowercase only",
            "UPPERCASE ONLY",
            "92837465",
            "!!??!!??",
            "пароль-мой",
            "合言葉合言葉合言葉",
        ):
            assert await verdict(PasswordPolicy(), password, ADA) is None


class TestSimilarity:
    @pytest.mark.parametrize(
        ("password", "identifier", "similar"),
        [
            (ADA, ADA, True),
            ("ADA@EXAMPLE.ORG", ADA, True),
            ("ada@example.org1", ADA, True),
            ("4da@ex4mple.0rg", ADA, True),  # three edits
            ("xxxxexample.or", ADA, True),  # ten of its fourteen characters
            ("example.", ADA, True),
            ("example1", ADA, True),  # seven of eight
            ("exam-horse", ADA, False),  # four of ten
            ("exampabcde", ADA, False),  # exactly half is not more than half
            ("anna1234", "anna", True),  # four edits
            ("anna12345", "anna", False),  # five
            ("Plum-Tart-93-window", ADA, False),
            ("any password at all", "", False),
            ("x" * 257, "x" * 257, False),  # too long to be compared
            ("ä" * 129, "ä" * 129, False),  # 258 bytes
            ("x" * 256, "x" * 256, True),
        ],
    )
    async def test_a_password_must_not_be_like_an_identifier(
        self, password: str, identifier: str, similar: bool
    ) -> None:
        assert await verdict(PasswordPolicy(), password, identifier) == ((4000031, {}) if similar else None)

    async def test_every_identifier_counts(self) -> None:
        assert await verdict(PasswordPolicy(), "+491701234567", "ada@example.org", "+491701234567") == (4000031, {})

    async def test_the_check_can_be_switched_off(self) -> None:
        assert await verdict(PasswordPolicy(similarity=False), ADA, ADA) is None

    async def test_words_of_the_shop_are_checked_even_then(self) -> None:
        policy = PasswordPolicy(similarity=False, context_words=["Shopkeeper", "tea and tins"])
        broken = await verdict(policy, "shopkeeper1", ADA)
        assert broken is not None
        assert broken[0] == 4000005
        assert await verdict(policy, "my shopkeeper has nineteen cats", ADA) is None

    @given(st.text("abc", max_size=14), st.text("abc", max_size=14))
    def test_the_distance_is_levenshteins(self, one: str, other: str) -> None:
        assert _near(one, other) == (levenshtein(one, other) < 5)

    @given(st.text("abc", min_size=1, max_size=14), st.text("abc", max_size=14))
    def test_the_share_is_that_of_the_longest_common_piece(self, password: str, word: str) -> None:
        pieces = (password[a:b] for a in range(len(password)) for b in range(a + 1, len(password) + 1))
        longest = max((len(piece) for piece in pieces if piece in word), default=0)
        assert _shares_more_than_half(password, word) == (longest / len(password) > 0.5)

    @given(st.text(), st.text())
    def test_any_two_texts_can_be_compared(self, one: str, other: str) -> None:
        assert alike(one, other) in {True, False}


class TestKnownPasswords:
    async def test_a_known_password_is_refused_with_the_number_of_breaches(self, tmp_path: Path) -> None:
        path = tmp_path / "hashes.txt"
        path.write_text("F3BBBD66A63D4BF1747940578EC3D0103530E21D:17043\n")  # hunter2's
        policy = PasswordPolicy(min_length=6, breached=[CommonPasswords(), known := open_list(path)])
        assert await verdict(policy, "hunter2", ADA) == (4000034, {"breaches": 17043})
        assert await verdict(policy, "Football", ADA) == (4000034, {"breaches": 1})
        assert await verdict(policy, "Plum-Tart-93-window", ADA) is None
        known.close()

    async def test_only_the_first_broken_rule_is_reported(self) -> None:
        policy = PasswordPolicy(min_length=9, breached=[CommonPasswords()])
        assert await verdict(policy, "baseball", "baseball") == (4000032, {"min_length": 9, "actual_length": 8})
        assert await verdict(policy, "qwertyuiop", "qwertyuiop") == (4000031, {})


def levenshtein(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for line, letter in enumerate(one, start=1):
        above, row = row, [line]
        for column, against in enumerate(other, start=1):
            row.append(min(above[column - 1] + (letter != against), above[column] + 1, row[-1] + 1))
    return row[-1]
