"""Tokens that no signer should make, made without a library, which would refuse to."""

import base64
import hmac
import json
from collections.abc import Mapping
from typing import Any

from joserfc.jws import JWSRegistry

from shopkeeper.jose.keys import PrivateKey

_HASHES = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}


def part(document: Any) -> str:
    """Return a part of a token: bytes as they are, anything else as JSON."""
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def signed(key: PrivateKey, payload: Any, header: Any = None, **more: Any) -> str:
    """Return a token with a right signature, whatever its header and payload are."""
    if header is None:
        header = {"alg": key.algorithm, "typ": "at+jwt", "kid": key.kid, **more}
    return with_signature(key, f"{part(header)}.{part(payload)}")


def with_signature(key: PrivateKey, said: str) -> str:
    """Return what is said with its signature."""
    name = "Ed25519" if key.algorithm == "EdDSA" else key.algorithm
    return f"{said}.{part(JWSRegistry.algorithms[name].sign(said.encode(), key.key))}"


def hashed(secret: bytes, algorithm: str, header: Mapping[str, Any], payload: Any) -> str:
    """Return a token with an HMAC."""
    said = f"{part({**header, 'alg': algorithm})}.{part(payload)}"
    return f"{said}.{part(hmac.digest(secret, said.encode(), _HASHES[algorithm]))}"
