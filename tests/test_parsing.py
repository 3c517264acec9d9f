"""Parsing: headers that list preferences, ids, bodies."""

from collections.abc import AsyncIterator

import pytest

from shopkeeper.errors import MalformedBody, PayloadTooLarge
from shopkeeper.parsing import gather, media_type_of, parse_accept, parse_json
from shopkeeper.settings.values import parse_size


@pytest.mark.parametrize(
    ("header", "wished"),
    [
        ("de-AT, en;q=0.5", [("de-at", 1.0), ("en", 0.5)]),
        ("de; q=0.9,en ; q = 0.8", [("de", 0.9), ("en", 0.8)]),
        # Parameters of a media type come before the weight.
        ("text/html;level=1;q=0.4", [("text/html", 0.4)]),
        ("de;q=1.5, en;q=-1, fr;q=nan, es;q=much", [("de", 0.0), ("en", 0.0), ("fr", 0.0), ("es", 0.0)]),
        ("", [("", 1.0)]),
    ],
)
def test_preferences_have_weights(header: str, wished: list[tuple[str, float]]) -> None:
    assert list(parse_accept(header)) == wished


@pytest.mark.parametrize(
    ("content_type", "media_type"),
    [
        ("application/json", "application/json"),
        ("Application/JSON;charset=utf-8", "application/json"),
        (" text/plain ; a=b; c=d", "text/plain"),
        ("application/json, text/plain", "application/json, text/plain"),  # a list is no media type
        (";charset=utf-8", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_a_media_type_is_read_without_its_parameters(content_type: str | None, media_type: str) -> None:
    assert media_type_of(content_type) == media_type


def test_endless_preferences_are_not_read_to_the_end() -> None:
    assert len(parse_accept("de," * 10_000)) == 20


@pytest.mark.parametrize("body", [b"[" * 33 + b"]" * 33, b"[" + b"1," * 20_000 + b"1]", b"{", b"\xff"])
def test_too_large_or_malformed_documents_are_refused(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        parse_json(body)


@pytest.mark.parametrize("declared", [None, "0", "5", "none"])
async def test_a_body_ends_at_its_limit_for_any_declared_length(declared: str | None) -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield b"12345"
        yield b"6"

    assert await gather(stream(), declared=declared, limit=6) == b"123456"
    with pytest.raises(PayloadTooLarge):
        await gather(stream(), declared=declared, limit=5)


async def test_a_limit_is_named_in_the_unit_in_which_it_counts() -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield b"1" * 2049

    for declared in (None, "2049"):
        with pytest.raises(PayloadTooLarge, match="may have 2048 bytes at most"):
            await gather(stream(), declared=declared, limit=parse_size("2kB"))


async def test_a_body_that_declares_too_much_is_not_read() -> None:
    async def stream() -> AsyncIterator[bytes]:
        raise AssertionError("read all the same")
        yield b""

    with pytest.raises(PayloadTooLarge):
        await gather(stream(), declared="7", limit=6)
