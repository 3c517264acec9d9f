"""How many connections a process serves, from the descriptors that it may have."""

import resource

import pytest

from shopkeeper.server_limits import (
    MOST_CONNECTIONS,
    TooFewDescriptors,
    backlog_for,
    raise_descriptor_limit,
    server_limits,
)


@pytest.mark.parametrize(
    ("descriptors", "public", "admin", "few"),
    [(1_024, 767, 109, True), (4_096, 3_455, 493, False), (1_048_576, MOST_CONNECTIONS, MOST_CONNECTIONS, False)],
)
def test_connections_and_the_reserve_fit_into_the_limit(descriptors: int, public: int, admin: int, few: bool) -> None:
    limits = server_limits(descriptors, database_connections=20)
    assert (limits.public_connections, limits.admin_connections, limits.few) == (public, admin, few)
    assert limits.public_connections + limits.admin_connections + 20 < descriptors
    assert ("raise the limit" in limits.sentence) is few


def test_a_limit_that_leaves_no_connections_is_refused_with_what_is_needed() -> None:
    with pytest.raises(TooFewDescriptors, match="276 at least, 20 of them for the database"):
        server_limits(256, database_connections=20)


def test_no_more_wait_than_are_served() -> None:
    assert (backlog_for(700), backlog_for(10_000)) == (700, 1_024)


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1_024, hard), hard))
        assert raise_descriptor_limit() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
