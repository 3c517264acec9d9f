"""Keys of services: read alike wherever they are named, and each of one service."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from shopkeeper.crypto import digest
from shopkeeper.jose.keys import PrivateKey
from shopkeeper.settings import Settings

KEY, OTHER = "p7Xk2vQ9dLw4sT6yB1nM8cRj5hZf3gAe", "a3Gf9Kd1Pq7Ws5Ze2Rt8Yu4Io6Lk0JhX"
PUBLIC = {"keys": [PrivateKey.generate().public_jwk()]}
SECRET = {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}
CLIENT: dict[str, Any] = {"id": "orders", "audiences": ["stock"]}


def settings(*, clients: Any = (), callers: Any = ()) -> Settings:
    return Settings.model_validate({"tokens": {"clients": clients}, "introspection": {"callers": callers}})


@pytest.mark.parametrize("written", [KEY, f"{KEY}\n", {"hash": digest(KEY).hex()}], ids=["plain", "line", "hash"])
def test_a_key_is_kept_as_its_hash(written: Any) -> None:
    read = settings(clients=[{**CLIENT, "secrets": [written]}], callers=[{"id": "engine", "keys": [written]}])
    hashes = {read.tokens.clients[0].secrets[0].hash, read.introspection.callers[0].keys[0].hash}
    assert hashes == {digest(KEY).hex()}


@pytest.mark.parametrize("written", ["short", KEY[:1] * 40, {"hash": digest("").hex()}, 7])
@pytest.mark.parametrize("where", ["clients", "callers"])
def test_a_key_that_protects_nothing_is_refused(where: str, written: Any) -> None:
    named = {"clients": {**CLIENT, "secrets": [written]}, "callers": {"id": "engine", "keys": [written]}}
    with pytest.raises(ValidationError):
        settings(**{where: [named[where]]})


@pytest.mark.parametrize("where", ["clients", "callers"])
def test_public_keys_may_be_text_and_never_secret(where: str) -> None:
    named = {"clients": CLIENT, "callers": {"id": "engine"}}[where]
    for jwks in (PUBLIC, json.dumps(PUBLIC)):
        settings(**{where: [{**named, "jwks": jwks}]})
    for jwks in (SECRET, {"keys": []}, "{", 7):
        with pytest.raises(ValidationError):
            settings(**{where: [{**named, "jwks": jwks}]})


def test_a_service_asks_as_a_caller_or_as_a_client() -> None:
    client = {**CLIENT, "secrets": [KEY]}
    asking = {**client, "introspection": {}}
    settings(clients=[client], callers=[{"id": "orders", "keys": [OTHER]}])
    settings(clients=[asking], callers=[{"id": "engine", "keys": [OTHER]}])
    for caller, sentence in (
        ({"id": "orders", "keys": [OTHER]}, "'orders' is a caller"),
        ({"id": "engine", "keys": [KEY]}, "give each its own"),
    ):
        with pytest.raises(ValidationError, match=sentence):
            settings(clients=[asking], callers=[caller])
