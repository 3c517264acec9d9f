"""A service authenticates by one method, with one of its secrets or a signed assertion that counts once."""

import base64
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote_plus

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.errors import TooManyRequests
from shopkeeper.oauth.client_assertions import LONGEST_LIFE
from shopkeeper.oauth.client_authentication import LONGEST_CREDENTIALS, ClientAuthentication
from shopkeeper.oauth.errors import InvalidClient, InvalidRequest
from shopkeeper.storage.database import Database
from shopkeeper.tokens import received_token_store
from tests.oauth.conftest import ENDPOINT, IP, ISSUER, NEW, OLD, OTHER_KEY, WHOLE, assertion, authentication_of, basic
from tests.services.databases import sqlalchemy_url


@pytest.fixture
async def authentication(sqlite_dsn: str, clock: StoppedClock) -> AsyncIterator[ClientAuthentication]:
    """One whose database has nothing to do but to keep an assertion."""
    database = Database(sqlalchemy_url(sqlite_dsn))
    yield authentication_of(database, clock)
    await database.close()


async def test_either_of_two_secrets_authenticates_by_header_or_form(authentication: ClientAuthentication) -> None:
    for secret in (OLD, NEW):
        assert await authentication.authenticate([basic("orders", secret)], {}, ip=IP) == "orders"
        form = {"client_id": "orders", "client_secret": secret}
        assert await authentication.authenticate([], form, ip=IP) == "orders"


@pytest.mark.parametrize(
    ("client_id", "secret"),
    [("orders", ""), ("orders", "s" + NEW), ("search", OLD), ("nobody", OLD), ("", ""), ("stock", "\0" * 32)],
)
async def test_wrong_credentials_are_refused_alike(
    authentication: ClientAuthentication, client_id: str, secret: str
) -> None:
    told = set()
    for header, form in (
        ([basic(client_id, secret)], {}),
        ([], {"client_id": client_id, "client_secret": secret}),
    ):
        with pytest.raises(InvalidClient) as refused:
            await authentication.authenticate(header, form, ip=IP)
        told.add(refused.value.description)
    assert told == {"The client is unknown, or its credentials are not valid."}


@pytest.mark.parametrize(
    ("headers", "form"),
    [
        ([basic("orders", OLD)], {"client_id": "orders", "client_secret": OLD}),
        ([basic("orders", OLD), basic("orders", OLD)], {}),
        ([basic("orders", OLD)], {"client_id": "search"}),
        ([basic("orders", OLD)], {"client_assertion": "a.b.c"}),
        ([], {"client_id": "orders", "client_secret": OLD, "client_assertion_type": "x"}),
        ([], {"client_assertion": "a.b.c"}),
    ],
    ids=["both", "two headers", "other id", "assertion too", "form too", "no type"],
)
@pytest.mark.parametrize("as_introspection", [False, True])
async def test_exactly_one_method_is_used(
    database: Database, clock: StoppedClock, headers: list[str], form: Mapping[str, str], as_introspection: bool
) -> None:
    authentication = authentication_of(database, clock, as_introspection=as_introspection)
    with pytest.raises(InvalidRequest):
        await authentication.authenticate(headers, form, ip=IP)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic !",
        "Basic " + base64.b64encode(b"orders").decode(),
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        basic("orders", OLD + "x" * LONGEST_CREDENTIALS),
        "Digest orders",
        f"Bearer {OLD}",
    ],
    ids=["empty", "no base64", "no colon", "bytes", "too long", "another scheme", "not taken here"],
)
async def test_a_header_that_proves_nothing_is_a_401(authentication: ClientAuthentication, header: str) -> None:
    """RFC 6749 section 5.2: who tried the header is answered with a challenge for it."""
    with pytest.raises(InvalidClient):
        await authentication.authenticate([header], {}, ip=IP)


async def test_a_secret_may_be_sent_by_basic_without_form_encoding(authentication: ClientAuthentication) -> None:
    assert quote_plus(OLD) != OLD
    plain = "Basic " + base64.b64encode(f"orders:{OLD}".encode()).decode()
    assert await authentication.authenticate([plain], {}, ip=IP) == "orders"


async def test_introspection_takes_the_same_methods_and_those_of_engines(
    database: Database, clock: StoppedClock
) -> None:
    authentication = authentication_of(database, clock, as_introspection=True)
    for headers, form, client in (
        ([basic("orders", OLD)], {}, "orders"),
        ([], {"client_id": "orders", "client_secret": NEW}, "orders"),
        ([], assertion(clock), "stock"),
        ([f"bearer {NEW}"], {}, "orders"),
        ([f"Bearer s{NEW}"], {"client_id": "me"}, "search"),
        ([WHOLE], {"client_id": "me"}, "search"),
    ):
        assert await authentication.authenticate(headers, form, ip=IP) == client
    for wrong in (WHOLE.lower(), f"{WHOLE} ", f"Bearer {NEW}x", NEW):
        with pytest.raises(InvalidClient):
            await authentication.authenticate([wrong], {}, ip=IP)


@pytest.mark.parametrize("audience", [ISSUER, ENDPOINT, [ISSUER]], ids=["issuer", "endpoint", "list of one"])
@pytest.mark.parametrize("typ", [None, "JWT", "client-authentication+jwt"])
async def test_a_signed_assertion_authenticates(
    authentication: ClientAuthentication, clock: StoppedClock, audience: Any, typ: str | None
) -> None:
    form = {**assertion(clock, aud=audience, typ=typ), "client_id": "stock"}
    assert await authentication.authenticate([], form, ip=IP) == "stock"


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://elsewhere.example"},
        {"aud": [ISSUER, "https://elsewhere.example"]},
        {"aud": []},
        {"aud": None},
        {"aud": ISSUER + "/"},
        {"sub": "orders"},
        {"iss": "orders"},
        {"iss": "mail", "sub": "mail"},
        {"jti": None},
        {"jti": "x" * 300},
        {"jti": 7},
        {"exp": None},
        {"exp": "soon"},
        {"exp": 1},
        {"exp": 99_999_999_999, "iat": None},
        {"exp": 99_999_999_999, "iat": 1_700_000_000},
        {"nbf": 99_999_999_999},
        {"iat": 99_999_999_999},
    ],
    ids=str,
)
async def test_an_assertion_that_is_not_for_us_now_and_once_is_refused(
    authentication: ClientAuthentication, clock: StoppedClock, claims: Mapping[str, Any]
) -> None:
    with pytest.raises(InvalidClient):
        await authentication.authenticate([], assertion(clock, **claims), ip=IP)


@pytest.mark.parametrize("typ", ["at+jwt", "logout+jwt"])
async def test_a_token_of_another_kind_is_no_assertion(
    authentication: ClientAuthentication, clock: StoppedClock, typ: str
) -> None:
    with pytest.raises(InvalidClient):
        await authentication.authenticate([], assertion(clock, typ=typ), ip=IP)


async def test_an_assertion_is_signed_by_its_own_client(
    authentication: ClientAuthentication, clock: StoppedClock
) -> None:
    with pytest.raises(InvalidClient):
        await authentication.authenticate([], assertion(clock, key=OTHER_KEY), ip=IP)


async def test_an_assertion_is_accepted_for_five_minutes_whatever_it_says(
    authentication: ClientAuthentication, clock: StoppedClock
) -> None:
    """Authlib's assertions say an hour."""
    said = {"exp": int(clock.now().timestamp()) + 3_600}
    assert await authentication.authenticate([], assertion(clock, **said), ip=IP) == "stock"
    late = assertion(clock, **said)
    clock.advance(minutes=6)
    with pytest.raises(InvalidClient):
        await authentication.authenticate([], late, ip=IP)


async def test_row_017_an_assertion_counts_once_in_all_processes_and_after_a_restart(
    database: Database, clock: StoppedClock
) -> None:
    form = assertion(clock, exp=int((clock.now() + LONGEST_LIFE).timestamp()), jti="one")
    assert await authentication_of(database, clock).authenticate([], form, ip=IP) == "stock"
    for _ in range(7):  # until it has expired, while old ones are forgotten
        with pytest.raises(InvalidClient):
            await authentication_of(database, clock).authenticate([], form, ip=IP)
        clock.advance(minutes=1)
        async with database.unit() as unit:
            await received_token_store.purge(unit, clock.now(), 100)
    again = assertion(clock, key=OTHER_KEY, iss="mail", sub="mail", jti="one")
    assert await authentication_of(database, clock).authenticate([], again, ip=IP) == "mail"


async def test_only_wrong_credentials_are_counted(sqlite_dsn: str, clock: StoppedClock) -> None:
    database = Database(sqlalchemy_url(sqlite_dsn))
    authentication = authentication_of(database, clock, per_ip="2/minute")
    for _ in range(2):
        with pytest.raises(InvalidClient):
            await authentication.authenticate([basic("orders", "guess")], {}, ip=IP)
    with pytest.raises(TooManyRequests):
        await authentication.authenticate([basic("orders", "guess")], {}, ip=IP)
    for _ in range(5):
        assert await authentication.authenticate([basic("orders", OLD)], {}, ip=IP) == "orders"
    await database.close()
