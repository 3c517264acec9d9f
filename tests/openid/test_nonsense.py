"""Whatever JSON a provider answers, it is used or refused: nothing else comes of it."""

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shopkeeper.openid.errors import ProviderError, ProviderTokenInvalid
from shopkeeper.openid.id_token import Expected, check_id_token
from shopkeeper.openid.keys import parse_keys
from shopkeeper.openid.logout_token import LOGOUT_EVENT, check_logout_token
from shopkeeper.openid.metadata import Metadata, parse_metadata
from shopkeeper.openid.presets import PRESETS
from shopkeeper.openid.provider import Provider
from shopkeeper.openid.tokens import SignedToken
from shopkeeper.openid.userinfo import claims_of_userinfo
from tests.openid.scripted import EC, ED, RSA

NOW = datetime(2026, 3, 14, tzinfo=UTC)
PROVIDER = Provider(id="idp", preset="generic", label="", client_id="shop", issuer="https://idp.example")
SHAPES = {name: preset.userinfo for name, preset in PRESETS.items() if not preset.unsupported}
TEXTS = st.sampled_from(["", "a", "shop", "https://idp.example", "S256", "\x00", "\ud7ff", "0", "sig", "RSA", "verify"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS


def documents(names: list[str]) -> st.SearchStrategy[Any]:
    """Return JSON values whose objects have these names."""
    return st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(names), inner, max_size=4),
        max_leaves=12,
    )


def body_of(document: Any) -> bytes:
    # NaN and Infinity are written as providers in Python or JavaScript may write them, which is no JSON.
    return json.dumps(document).encode()


def times() -> st.SearchStrategy[Any]:
    now = int(NOW.timestamp())
    return SCALARS | st.sampled_from([now, now + 60, now - 60, now + 0.5, -(10**18), 10**18, 10**400, "1", [now]])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents([*Metadata.__struct_fields__, "other"]))
def test_metadata(document: Any) -> None:
    with contextlib.suppress(ProviderError):
        assert parse_metadata(body_of(document), provider=PROVIDER).issuer == PROVIDER.issuer


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["kty", "kid", "use", "alg", "key_ops", "crv", "n", "e", "x", "y"]),
            SCALARS | st.lists(SCALARS, max_size=2),
            max_size=6,
        ),
        max_size=4,
    )
)
def test_changed_keys(changes: list[dict[str, Any]]) -> None:
    good = [key.as_dict(private=False) for key in (RSA, EC, ED)]
    changed = [{**good[number % 3], **change} for number, change in enumerate(changes)]
    for key in parse_keys(body_of({"keys": changed})) if _is_json(changed) else []:
        assert key.key.as_dict().get("crv") in {None, "P-256", "Ed25519"}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(["keys", "kty", "kid"]))
def test_key_sets(document: Any) -> None:
    with contextlib.suppress(ProviderError):
        assert list(parse_keys(body_of(document))) == []


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_userinfo(shape: Any, data: st.DataObject) -> None:
    names = sorted({step for path in _paths(shape) for step in path.split(".") if not step.startswith("?")} | {"sub"})
    parts = {name: data.draw(documents(names)) for name in [shape.name, *(r.name for r in shape.further)] if name}
    document = parts if shape.name else data.draw(st.dictionaries(st.sampled_from(names), documents(names), max_size=4))
    assert isinstance(claims_of_userinfo(document, shape), dict)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "iss": SCALARS | st.just(PROVIDER.issuer),
            "aud": documents(["shop"]) | st.just("shop") | st.lists(TEXTS, max_size=3),
            "azp": SCALARS,
            "nonce": SCALARS | st.just("n"),
            "iat": times(),
            "exp": times(),
            "nbf": times(),
            "sub": SCALARS,
            "sid": SCALARS,
            "jti": SCALARS,
            "at_hash": SCALARS,
            "events": documents([LOGOUT_EVENT]) | st.just({LOGOUT_EVENT: {}}),
        },
    )
)
def test_claims(claims: dict[str, Any]) -> None:
    token = SignedToken("ES256", claims, digest=b"")
    expected = Expected(audiences={"shop"}, issuer=PROVIDER.issuer, nonce="n", access_token="at")
    with contextlib.suppress(ProviderTokenInvalid):
        issuer, subject = check_id_token(token, expected, provider=PROVIDER, now=NOW)
        assert (issuer, subject, claims["nonce"]) == (PROVIDER.issuer, claims["sub"], "n")
        assert "shop" in claims["aud"]
    with contextlib.suppress(ProviderTokenInvalid):
        told = check_logout_token(token, provider=PROVIDER, announced=PROVIDER.issuer, now=NOW)
        assert "nonce" not in claims
        assert told.subject or told.sid
        assert told.expires_at > NOW - timedelta(minutes=2)


def _paths(shape: Any) -> list[str]:
    paths: list[str] = []
    for found in shape.claims.values():
        paths += [found] if isinstance(found, str) else found
    return paths


def _is_json(document: Any) -> bool:
    try:
        msgspec.json.decode(body_of(document))
    except msgspec.DecodeError:
        return False
    return True
