"""The circuit breaker: one caller at a time tries a silent server, and all others are refused at once."""

import pytest

from shopkeeper.storage.circuit_breaker import CircuitBreaker
from shopkeeper.storage.unavailable import DatabaseUnavailable

SILENT = TimeoutError("no answer")


@pytest.fixture
def opened() -> CircuitBreaker:
    breaker = CircuitBreaker()
    breaker.open(SILENT)
    return breaker


def test_while_it_is_closed_any_number_connect_at_once() -> None:
    breaker = CircuitBreaker()
    with breaker.connecting(), breaker.connecting():
        breaker.require_closed()


def test_one_caller_tries_and_others_are_refused_for_its_reason(opened: CircuitBreaker) -> None:
    with opened.connecting():
        with pytest.raises(DatabaseUnavailable) as refused, opened.connecting():
            pass
        assert refused.value.__cause__ is SILENT


def test_whoever_reaches_the_server_closes_it(opened: CircuitBreaker) -> None:
    with opened.connecting():
        pass
    with opened.connecting(), opened.connecting():
        pass


def test_after_a_try_that_failed_the_next_caller_tries(opened: CircuitBreaker) -> None:
    for _ in range(2):
        with pytest.raises(LookupError), opened.connecting():
            raise LookupError
    with opened.connecting(), pytest.raises(DatabaseUnavailable):
        opened.require_closed()
