"""Access tokens of our own say what they were issued with, or are refused."""

from datetime import timedelta
from typing import Any

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.crypto import new_id
from shopkeeper.errors import TokenInvalid
from shopkeeper.jose.sign import sign
from shopkeeper.storage.database import Database
from shopkeeper.tokens.access_tokens import MOST_LINEAGE, MOST_STORES, TYPE, AccessTokens
from shopkeeper.tokens.signing_keys import SigningKeys
from tests.services.databases import sqlalchemy_url
from tests.tokens.process_keys import ProcessKeys

ISSUER = "https://shop.example.org"
ID = "01a22d32-c8b5-747c-bae3-7754cc000000"


@pytest.fixture
async def keys(sqlite_dsn: str, clock: StoppedClock) -> Any:
    database = Database(sqlalchemy_url(sqlite_dsn))
    yield ProcessKeys(database, ["a secret of the shop"], clock)
    await database.close()


@pytest.fixture
def tokens(keys: SigningKeys, clock: StoppedClock) -> AccessTokens:
    return AccessTokens(keys, issuer=ISSUER, clock=clock, lifespan=timedelta(minutes=10))


async def with_claims(keys: SigningKeys, clock: StoppedClock, **claims: Any) -> str:
    """Return a token that our key has signed; claims that are None are left out."""
    now = int(clock.now().timestamp())
    said = {
        "iss": ISSUER,
        "sub": "orders",
        "client_id": "orders",
        "aud": "stock",
        "jti": ID,
        "iat": now,
        "exp": now + 9,
    }
    said = {name: value for name, value in {**said, **claims}.items() if value is not None}
    return sign(said, await keys.current(), TYPE)


async def test_a_token_says_what_it_was_issued_with(tokens: AccessTokens) -> None:
    given = {"subject": "ada", "client_id": "orders", "audience": "stock", "scope": ("a", "b"), "session": new_id()}
    more = {"stores": ("tea", "fruit"), "lineage": tuple(new_id() for _ in range(MOST_LINEAGE)), "actor": "agent"}
    token, said = await tokens.issue(**given, **more)  # type: ignore[arg-type]
    assert await tokens.verify(token) == said
    assert {name: getattr(said, name) for name in (*given, *more)} == {**given, **more}
    assert said.revoked_by == (said.id, *more["lineage"])


async def test_what_is_left_out_is_empty(tokens: AccessTokens, keys: SigningKeys, clock: StoppedClock) -> None:
    said = await tokens.verify(await with_claims(keys, clock))
    assert (said.scope, said.stores, said.lineage, said.session, said.actor) == ((), (), (), None, None)


@pytest.mark.parametrize(
    "claims",
    [
        *[{"lineage": value} for value in (ID, {}, [1], [None], [ID, "x"], [[ID]], [""], [ID] * (MOST_LINEAGE + 1))],
        *[{"stores": value} for value in ("tea", {}, [1], ["tea", None], ["tea"] * (MOST_STORES + 1))],
        *[{"sid": value} for value in ("x", "", 1, [ID])],
        *[{"act": value} for value in ("agent", [], {}, {"sub": ""}, {"sub": 1})],
        *[{"scope": value} for value in (["a"], 1, {})],
        *[{"jti": value} for value in (None, "x", 1)],
        *[{"aud": value} for value in (None, "", ["stock"], "s" * 10_000)],
        *[{name: None} for name in ("iss", "sub", "client_id", "iat", "exp")],
    ],
    ids=lambda claims: f"{claims}"[:40],
)
async def test_a_claim_of_another_form_is_refused(
    tokens: AccessTokens, keys: SigningKeys, clock: StoppedClock, claims: dict[str, Any]
) -> None:
    with pytest.raises(TokenInvalid):
        await tokens.verify(await with_claims(keys, clock, **claims))
