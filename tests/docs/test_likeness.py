"""The comparison that the examples rely on, checked by examples of its own."""

import pytest

from tests.docs.likeness import differences


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ('{"a": 1, "b": "…"}', '{"a": 1, "b": {"c": 2}}'),
        ('{"a": "eyJ…"}', '{"a": "eyJhbGci"}'),
        ('[1, "…"]', "[1, 2, 3]"),
        ('[1, "…"]', "[1]"),
        ('{"a": 1, "…": "…"}', '{"a": 1, "b": 2}'),
        ("200\n", "200"),
        ("HTTP/1.1 303 See Other\nlocation: /a\n…", "HTTP/1.1 303 See Other\nlocation: /a\nserver: x\n\nbody"),
    ],
)
def test_outputs_that_are_alike_match(shown: str, said: str) -> None:
    assert differences(shown, said) == []


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ('{"a": 1}', '{"a": 2}'),
        ('{"a": 1}', '{"a": 1, "b": 2}'),
        ('{"a": 1, "b": "…"}', '{"a": 1}'),
        ('{"a": null}', '{"a": 0}'),
        ('{"a": true}', '{"a": 1}'),
        ("[1, 2]", "[1]"),
        ("[1]", "[1, 2]"),
        ('{"a": "eyJ…"}', '{"a": "shk"}'),
        ('{"a": 1}', "no JSON"),
        ("200", "404"),
    ],
)
def test_outputs_that_are_not_alike_do_not_match(shown: str, said: str) -> None:
    assert differences(shown, said)
