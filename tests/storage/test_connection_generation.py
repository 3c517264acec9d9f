"""Generations of connections: what one has met, all of its generation will meet."""

from shopkeeper.storage.connection_generation import RETIRE_AT_MOST_EVERY, ConnectionGeneration


class Watch:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_all_of_a_generation_meet_retires_it_once() -> None:
    generation = ConnectionGeneration()
    first = generation.number
    assert [generation.retire_observed(first) for _ in range(20)] == [True] * 20
    assert generation.number == first + 1


def test_what_new_connections_meet_too_retires_them_now_and_then() -> None:
    watch = Watch()
    generation = ConnectionGeneration(watch)
    assert generation.retire_observed(generation.number)
    assert not generation.retire_observed(generation.number)
    watch.now += RETIRE_AT_MOST_EVERY
    assert generation.retire_observed(generation.number)
    assert not generation.retire_observed(generation.number)
