"""One gate says whether something may be issued or accepted for a person: every state is tried with every method."""

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.crypto import new_id
from shopkeeper.identity.values import Aal, State
from shopkeeper.sessions.authentication_gate import AuthenticationGate
from shopkeeper.sessions.cache import CachedSession
from shopkeeper.sessions.values import AuthenticationMethod, Session
from tests.sessions.conftest import person, rendered

METHODS = ("password", "code", "oidc")
CASES = list(product((State.ACTIVE, State.INACTIVE), (True, False), METHODS, ((), ("password",), METHODS)))


@pytest.mark.parametrize(("state", "verified", "method", "verified_for"), CASES)
def test_row_036_a_person_passes_only_as_a_sign_in_would_let_them_pass(
    clock: StoppedClock, state: State, verified: bool, method: str, verified_for: tuple[str, ...]
) -> None:
    cached = session_of(clock, method, state=state, verified=verified)
    gate = AuthenticationGate(clock=clock, verified_for=verified_for)
    expected = state is State.ACTIVE and (verified or method not in verified_for)
    assert gate.may_authenticate(cached.session.identity, by=[method]) is expected
    assert gate.may_act(cached) is expected


def test_row_036_a_session_must_last_and_have_the_assurance_that_whoami_asks_for(clock: StoppedClock) -> None:
    cached, gate = session_of(clock, "password"), AuthenticationGate(clock=clock)
    assert gate.may_act(cached)
    assert not gate.may_act(replace(cached, whoami=cached.whoami._replace(status=403, error="session_aal2_required")))
    assert not gate.may_act(replace(cached, session=replace(cached.session, active=False)))
    assert not gate.may_act(replace(cached, session=replace(cached.session, idle_ends_at=clock.now())))
    clock.advance(hours=1)
    assert not gate.may_act(cached)


def session_of(
    clock: StoppedClock, method: str, *, state: State = State.ACTIVE, verified: bool = True
) -> CachedSession:
    now = clock.now()
    identity = person(now, state=state)
    addresses = tuple(replace(each, verified=verified) for each in identity.verifiable_addresses)
    session = Session(
        id=new_id(),
        identity=replace(identity, verifiable_addresses=addresses),
        active=True,
        aal=Aal.AAL1,
        authentication_methods=(AuthenticationMethod(method, Aal.AAL1, now),),
        authenticated_at=now,
        issued_at=now,
        expires_at=now + timedelta(hours=1),
        devices=(),
    )
    return CachedSession(session, rendered(session), session.expires_at, now)
