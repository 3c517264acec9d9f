"""What every guess goes through, whichever method looks at it."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from shopkeeper.credentials.guessing import Guess, RightGuess
from shopkeeper.credentials.method import Proof
from shopkeeper.errors import Busy, IdentityDisabled, InvalidCredentials, TooManyRequests
from shopkeeper.identity.values import Aal, Identity, State
from shopkeeper.storage.database import Unit
from tests.rooms.credentials.conftest import CLIENT, FAILURES, World

ADA = "ada@example.org"


def at(identity: Identity | None, *, name: str = ADA) -> Guess:
    return Guess("tea leaves", identity, name=name, client=CLIENT)


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


async def right(world: World, guess: Guess) -> RightGuess:
    async with world.database.unit() as unit:
        return await world.guesses.judge(unit, guess, yes)


async def wrong(world: World, guess: Guess) -> None:
    with pytest.raises(InvalidCredentials):
        async with world.database.unit() as unit:
            await world.guesses.judge(unit, guess, no)


def secret(identity: Identity) -> Mapping[str, Any]:
    return identity.credentials["password"].config


async def proof(world: World, guess: RightGuess) -> Proof:
    async with world.database.unit() as unit:
        return await world.guesses.proof(unit, guess, aal=Aal.AAL2, secret=secret)


class TestVerdict:
    async def test_a_right_guess_is_whose_account_it_is(self, world: World) -> None:
        ada = await world.customer(ADA)
        assert (await right(world, at(ada))).identity == ada
        assert await world.failures() == []

    async def test_a_wrong_one_is_remembered_with_its_method_although_the_unit_is_undone(self, world: World) -> None:
        ada = await world.customer(ADA)
        await wrong(world, at(ada))
        (event,) = await world.failures()
        assert (event.subject, event.details) == (
            str(ada.id),
            {"method": "tea leaves", "reason": "wrong_credentials"},
        )

    async def test_nobodys_account_is_never_guessed_right(self, world: World) -> None:
        with pytest.raises(InvalidCredentials):
            await right(world, at(None))
        assert [event.subject for event in await world.failures()] == [None]


class TestBudget:
    async def test_after_so_many_wrong_ones_nothing_is_looked_at(self, world: World) -> None:
        ada = await world.customer(ADA)
        for _ in range(FAILURES):
            await wrong(world, at(ada))
        with pytest.raises(TooManyRequests):
            await right(world, at(ada))

    async def test_the_throttles_refusals_are_remembered_once_in_a_while(self, world: World) -> None:
        """Nothing told that somebody went on; and one write for each would be a gift to whoever floods."""
        ada = await world.customer(ADA)
        for _ in range(FAILURES):
            await wrong(world, at(ada))
        for _ in range(3):
            with pytest.raises(TooManyRequests):
                await right(world, at(ada))
        reasons = [event.details["reason"] for event in await world.failures()]
        assert reasons == ["too_many_attempts", *["wrong_credentials"] * FAILURES]

    async def test_methods_spend_the_same_budget(self, world: World) -> None:
        ada = await world.customer(ADA)
        for number in range(FAILURES):
            await wrong(world, replace(at(ada), method=f"number {number}"))
        with pytest.raises(TooManyRequests):
            await right(world, at(ada))

    async def test_a_guess_is_counted_before_it_is_looked_at(self, world: World) -> None:
        ada, looked, verdict = await world.customer(ADA), 0, asyncio.Event()

        async def look() -> bool:
            nonlocal looked
            looked += 1
            await verdict.wait()
            return False

        async def one() -> None:
            async with world.database.unit() as unit:
                await world.guesses.judge(unit, at(ada), look)

        together = [asyncio.ensure_future(one()) for _ in range(5 * FAILURES)]
        await asyncio.wait(together[FAILURES:])
        assert looked == FAILURES
        verdict.set()
        outcomes = await asyncio.gather(*together, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {InvalidCredentials, TooManyRequests}

    @pytest.mark.parametrize("instead", [Busy(retry_after=1), asyncio.CancelledError(), RuntimeError()], ids=repr)
    async def test_without_a_verdict_it_is_given_back(self, world: World, instead: BaseException) -> None:
        ada = await world.customer(ADA)

        async def look() -> bool:
            raise instead

        async with world.database.unit() as unit:
            for _ in range(FAILURES + 1):
                with pytest.raises(type(instead)):
                    await world.guesses.judge(unit, at(ada), look)
        assert await right(world, at(ada))
        assert await world.failures() == []


class TestProof:
    async def test_it_is_the_identity_held_with_the_method_and_what_it_is_worth(self, world: World) -> None:
        ada = await world.customer(ADA)
        proven = await proof(world, await right(world, at(ada)))
        assert (proven.identity.id, proven.method, proven.aal) == (ada.id, "tea leaves", Aal.AAL2)

    async def test_nothing_is_open_before_it(self, world: World) -> None:
        ada = await world.customer(ADA)
        async with world.database.unit() as unit:
            guess = await world.guesses.judge(unit, at(ada), yes)
            assert is_open(unit) is False
            await world.guesses.proof(unit, guess, aal=Aal.AAL1, secret=secret)
            assert is_open(unit) is True

    async def test_whoever_changed_the_secret_in_the_meantime_has_made_the_guess_wrong(self, world: World) -> None:
        ada = await world.customer(ADA)
        guess = await right(world, at(ada))
        await world.store(ada, "another")
        with pytest.raises(InvalidCredentials):
            await proof(world, guess)
        assert [event.details["reason"] for event in await world.failures()] == ["wrong_credentials"]

    async def test_whoever_is_gone_in_the_meantime_proves_nothing(self, world: World) -> None:
        ada = await world.customer(ADA)
        guess = await right(world, at(ada))
        async with world.database.unit() as unit:
            await world.identities.delete(unit, ada.id, actor="admin")
        with pytest.raises(InvalidCredentials):
            await proof(world, guess)
        assert [event.details["reason"] for event in await world.failures()] == ["wrong_credentials"]

    async def test_an_account_that_is_switched_off_is_refused_whatever_the_method(self, world: World) -> None:
        ada = await world.customer(ADA, state=State.INACTIVE)
        guess = await right(world, at(ada))
        with pytest.raises(IdentityDisabled):
            await proof(world, guess)
        (event,) = await world.failures()
        assert event.details == {"method": "tea leaves", "reason": "identity_disabled"}


def is_open(unit: Unit) -> bool:
    return unit._open is not None
