"""The cache of verified tokens: one verification for many callers, and one error for each of them."""

import asyncio
from datetime import UTC, datetime, timedelta

from shopkeeper.clock import StoppedClock
from shopkeeper.errors import Refusal, TokenInvalid
from shopkeeper.openid.errors import ProviderAskedTooOften, ProviderTokenInvalid, ProviderUnavailable
from shopkeeper.sessions.token_sources import External
from shopkeeper.upstream.verified_token_cache import VerifiedTokenCache

NOW = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)
CALLERS = 5
REFUSALS = (
    ProviderTokenInvalid("No.", cause="audience"),
    ProviderUnavailable("Away.", cause="no_answer", retry_after=7),
    ProviderAskedTooOften(cause="status", retry_after=9),
    TokenInvalid("No."),
)


def cache() -> VerifiedTokenCache:
    return VerifiedTokenCache(clock=StoppedClock(NOW), ceiling=timedelta(minutes=5))


async def test_callers_at_once_share_a_verification_and_its_answer() -> None:
    asked = 0

    async def verify() -> External:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return External(provider="idp", issuer="i", subject="s", claims={}, expires_at=NOW + timedelta(hours=1))

    tokens = cache()
    answers = await asyncio.gather(*(tokens.get("t", verify) for _ in range(CALLERS)))
    assert asked == 1
    assert {each.subject for each in answers} == {"s"}
    assert tokens.holds("t")


async def test_callers_at_once_have_an_error_each() -> None:
    """An exception that is raised several times gathers the frames of all callers, with what they hold."""
    for refusal in REFUSALS:

        async def verify(refusal: Refusal = refusal) -> External:
            await asyncio.sleep(0)
            raise refusal

        tokens = cache()
        asking = (tokens.get("t", verify) for _ in range(CALLERS))
        raised = await asyncio.gather(*asking, return_exceptions=True)
        assert len({id(each) for each in raised} | {id(refusal)}) == CALLERS + 1
        for each in raised:
            assert type(each) is type(refusal)
            assert vars(each) == vars(refusal)
            assert str(each) == str(refusal)
            assert each.__cause__ is None
        assert not tokens.holds("t")
