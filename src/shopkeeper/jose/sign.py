"""The one signer of JSON Web Tokens."""

import json
from collections.abc import Mapping
from typing import Any, Final

from joserfc import jws

from shopkeeper.jose.algorithms import REGISTRIES
from shopkeeper.jose.keys import PrivateKey

_RESERVED: Final = frozenset({"alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5u", "x5c"})


def sign(
    claims: Mapping[str, Any], key: PrivateKey, typ: str | None = None, headers: Mapping[str, Any] | None = None
) -> str:
    """Return a token in the compact form, signed by the key's algorithm.

    Args:
        typ: the kind of the token, such as `at+jwt`, by which verifiers tell it from others (RFC 8725 section 3.11).
        headers: further members of the header.

    Raises:
        ValueError: a claim cannot be written as JSON, or a header is one that only this function sets.
    """
    if reserved := _RESERVED & set(headers or {}):
        raise ValueError(f"these headers are not for callers: {', '.join(sorted(reserved))}")
    kind = {} if typ is None else {"typ": typ}
    header = {"alg": key.algorithm, **kind, "kid": key.kid, **(headers or {})}
    payload = json.dumps(dict(claims), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return jws.serialize_compact(header, payload, key.key, registry=REGISTRIES[key.algorithm])
