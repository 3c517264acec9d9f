"""Answers after success: every one of them has German and Spanish, by its code."""

import pytest

from shopkeeper.graphql.answers import ENGLISH, Answer, worded
from shopkeeper.languages.catalogues import read_catalogue
from shopkeeper.languages.choice import LANGUAGES, SOURCE


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != SOURCE])
def test_every_answer_is_translated_and_nothing_else(language: str) -> None:
    found = {str(e.context): (str(e.id), str(e.string)) for e in read_catalogue(language, "answers") if e.context}
    assert {code: english for code, (english, _) in found.items()} == {a.value: s for a, s in ENGLISH.items()}
    assert {answer.value: worded(answer, language) for answer in Answer} == {
        c: words for c, (_, words) in found.items()
    }
    assert all(words and words != english for english, words in found.values())


def test_english_is_as_it_was_written() -> None:
    assert {answer: worded(answer, SOURCE) for answer in Answer} == ENGLISH
