"""The steps that every attempt goes through, for all methods."""

import asyncio
from dataclasses import replace

import pytest

from shopkeeper.credentials.attempts import CredentialAttempt, VerifiedAttempt
from shopkeeper.errors import Busy, InvalidCredentials, TooManyRequests
from shopkeeper.identity.values import Identity
from tests.credentials.world import CLIENT, FAILURES, World

ADA = "ada@example.org"


def at(identity: Identity | None, *, name: str = ADA) -> CredentialAttempt:
    return CredentialAttempt("tea leaves", identity, name=name, client=CLIENT)


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


async def right(world: World, guess: CredentialAttempt) -> VerifiedAttempt:
    async with world.database.unit() as unit:
        return await world.guard.judge(unit, guess, yes)


async def wrong(world: World, guess: CredentialAttempt) -> None:
    with pytest.raises(InvalidCredentials):
        async with world.database.unit() as unit:
            await world.guard.judge(unit, guess, no)


class TestVerdict:
    async def test_a_right_guess_returns_the_identity(self, world: World) -> None:
        ada = await world.customer(ADA)
        assert (await right(world, at(ada))).identity == ada
        assert await world.failures() == []

    async def test_a_wrong_guess_is_audited_with_its_method_although_the_unit_rolls_back(self, world: World) -> None:
        ada = await world.customer(ADA)
        await wrong(world, at(ada))
        (event,) = await world.failures()
        assert (event.subject, event.details) == (
            str(ada.id),
            {"method": "tea leaves", "reason": "wrong_credentials"},
        )

    async def test_a_guess_at_an_unknown_account_is_never_right(self, world: World) -> None:
        with pytest.raises(InvalidCredentials):
            await right(world, at(None))
        assert [event.subject for event in await world.failures()] == [None]


class TestBudget:
    async def test_after_too_many_wrong_guesses_nothing_is_checked(self, world: World) -> None:
        ada = await world.customer(ADA)
        for _ in range(FAILURES):
            await wrong(world, at(ada))
        with pytest.raises(TooManyRequests):
            await right(world, at(ada))

    async def test_refusals_of_the_throttle_are_audited_once_in_a_while(self, world: World) -> None:
        """Without a record the attack would go on unseen; a record for each refusal would let the attacker fill the
        table."""
        ada = await world.customer(ADA)
        for _ in range(FAILURES):
            await wrong(world, at(ada))
        for _ in range(3):
            with pytest.raises(TooManyRequests):
                await right(world, at(ada))
        reasons = [event.details["reason"] for event in await world.failures()]
        assert reasons == ["too_many_attempts", *["wrong_credentials"] * FAILURES]

    async def test_methods_spend_one_budget(self, world: World) -> None:
        ada = await world.customer(ADA)
        for number in range(FAILURES):
            await wrong(world, replace(at(ada), method=f"number {number}"))
        with pytest.raises(TooManyRequests):
            await right(world, at(ada))

    async def test_a_guess_is_counted_before_it_is_checked(self, world: World) -> None:
        ada, looked, verdict = await world.customer(ADA), 0, asyncio.Event()

        async def look() -> bool:
            nonlocal looked
            looked += 1
            await verdict.wait()
            return False

        async def one() -> None:
            async with world.database.unit() as unit:
                await world.guard.judge(unit, at(ada), look)

        together = [asyncio.ensure_future(one()) for _ in range(5 * FAILURES)]
        await asyncio.wait(together[FAILURES:])
        assert looked == FAILURES
        verdict.set()
        outcomes = await asyncio.gather(*together, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {InvalidCredentials, TooManyRequests}

    @pytest.mark.parametrize("instead", [Busy(retry_after=1), asyncio.CancelledError(), RuntimeError()], ids=repr)
    async def test_a_guess_without_a_verdict_is_given_back(self, world: World, instead: BaseException) -> None:
        ada = await world.customer(ADA)

        async def look() -> bool:
            raise instead

        async with world.database.unit() as unit:
            for _ in range(FAILURES + 1):
                with pytest.raises(type(instead)):
                    await world.guard.judge(unit, at(ada), look)
        assert await right(world, at(ada))
        assert await world.failures() == []
