"""What every provider must do with the tokens that it vouches for: one suite for all kinds (`stages.py`)."""

import asyncio

import pytest

from shopkeeper.errors import Refusal, TokenInvalid
from shopkeeper.sessions.token_sources import CachedSession, External, TokenSource
from tests.upstream.stages import ELSEWHERE, HERE, REMOTE, RemoteStage, Stage

MALFORMED = [
    "",
    " ",
    ".",
    "..",
    "....",
    "a.b",
    "a.b.c",
    "a.b.c.d.e",
    "." * 20_000,
    "eyJhbGciOiJub25lIn0.e30.",
    "eyJhbGciOiJSUzI1NiJ9.W10.AAAA",
    "{}",
    "null",
    "\x00",
    "täken",
    "two words",
    "a" * 100_000,
    "ory_st_",
]


async def accepted(source: TokenSource, token: str, store: str | None = HERE) -> CachedSession | External | None:
    """Return what a source accepts a token as, None where it does not; every other exception is a fault."""
    if not source.recognises(token):
        return None
    try:
        verified = await source.verify(token, store)
    except TokenInvalid:
        return None
    assert isinstance(verified, CachedSession | External)
    return verified


def person_of(verified: CachedSession | External | None) -> tuple[str, str]:
    if isinstance(verified, External):
        return verified.issuer, verified.subject
    assert verified is not None
    return "own", str(verified.session.identity.id)


async def test_a_valid_token_names_its_person(stage: Stage) -> None:
    token = await stage.token()
    first, again = [await accepted(stage.source, token) for _ in range(2)]
    assert person_of(first) == person_of(again)
    if isinstance(first, External):
        assert first.provider == "idp"
        assert not first.by_application


async def test_what_is_wrong_with_a_token_is_never_accepted(stage: Stage) -> None:
    wrong = await stage.refused()
    found = {what: await accepted(stage.source, token) for what, token in wrong.items()}
    assert [what for what, verified in found.items() if verified is not None] == []
    assert await accepted(stage.source, await stage.token()) is not None


async def test_what_is_no_token_is_never_accepted(stage: Stage) -> None:
    assert [await accepted(stage.source, text) for text in MALFORMED] == [None] * len(MALFORMED)


async def test_a_token_counts_in_its_own_stores_only(stage: Stage) -> None:
    token = await stage.token()
    assert await accepted(stage.source, token, HERE) is not None
    assert await accepted(stage.source, token, ELSEWHERE) is None


async def test_a_token_that_was_revoked_ends(stage: Stage) -> None:
    token = await stage.token()
    assert await accepted(stage.source, token) is not None
    if await stage.revoke(token):
        assert await accepted(stage.source, token) is None


@pytest.mark.parametrize("stage", REMOTE, indirect=True)
@pytest.mark.parametrize("how", ["away", "slow", "nonsense", "unavailable"])
async def test_an_outage_is_told_apart_from_a_wrong_token(stage: RemoteStage, how: str) -> None:
    token = await stage.token()
    await stage.break_down(how)
    with pytest.raises(Refusal) as refused:
        await asyncio.wait_for(stage.source.verify(token, HERE), 10)
    assert refused.value.status == 503
    assert not isinstance(refused.value, TokenInvalid)
