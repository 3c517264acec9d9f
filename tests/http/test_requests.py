"""What is read from the headers of a request."""

import pytest

from shopkeeper.http.requests import bearer_of


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("BEARER   abc==", "abc=="),
        ("Bearer Bearer abc", "abc"),  # how the published shop client asks for a refresh
        ("Bearer a-b._~+/c", "a-b._~+/c"),
        ("Bearer Bearer Bearer abc", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearer a b", None),
        ("Bearer a,b", None),
        ("Bearer é", None),
        ("Bearer abc\r\nX: y", None),
        ("Bearer abc\n", None),
        ("Basic abc", None),
        ("Bearerabc", None),
        ("", None),
        (None, None),
    ],
)
def test_a_bearer_is_taken_from_its_header(header: str | None, token: str | None) -> None:
    assert bearer_of(header) == token
