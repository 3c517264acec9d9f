"""Tokens of links that end a session: which are accepted, for which session, and until when."""

from datetime import timedelta
from uuid import UUID

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.signin.end_links import LENGTH, EndLinks

SESSION, OTHER = UUID("0197a000-0000-7000-8000-0000000000a1"), UUID("0197a000-0000-7000-8000-0000000000b2")
OLD, NEW = "the secret of last year", "the secret of this year"


@pytest.fixture
def links(clock: StoppedClock) -> EndLinks:
    return EndLinks([OLD], clock=clock)


def issued(links: EndLinks, clock: StoppedClock, session: UUID = SESSION) -> str:
    return links.issue(session, until=clock.now() + timedelta(hours=72))


def test_a_token_names_its_session_until_its_end(links: EndLinks, clock: StoppedClock) -> None:
    token = issued(links, clock)
    assert len(token) == LENGTH
    clock.advance(hours=71, minutes=59)
    assert links.session_of(token) == SESSION
    clock.advance(minutes=1)
    assert links.session_of(token) is None


def test_tokens_outlive_a_change_of_the_secret_while_the_old_one_is_kept(links: EndLinks, clock: StoppedClock) -> None:
    token = issued(links, clock)
    assert EndLinks([NEW, OLD], clock=clock).session_of(token) == SESSION
    assert EndLinks([NEW], clock=clock).session_of(token) is None


def test_row_009_a_changed_token_names_no_session(links: EndLinks, clock: StoppedClock) -> None:
    token, other = issued(links, clock), issued(links, clock, OTHER)
    said, proof = slice(None, -32), slice(-32, None)
    for forged in (
        other[said] + token[proof],
        token.swapcase(),
        token[:-1],
        token + "A",
        token[:-4] + "====",
        token[:-1] + "ä",
        token.removeprefix("sk_end_"),
        "sk_end_",
        "",
    ):
        assert links.session_of(forged) is None


def test_without_a_secret_there_are_no_links(clock: StoppedClock) -> None:
    with pytest.raises(ValueError, match="no secret"):
        EndLinks([], clock=clock)
