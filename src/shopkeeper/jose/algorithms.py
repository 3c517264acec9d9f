"""The algorithms of signatures (RFC 7518 section 3, RFC 8037, RFC 9864), and which key each of them needs."""

from typing import Any, Final

from joserfc.jws import JWSRegistry

FITTING: Final = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
    **dict.fromkeys(("HS256", "HS384", "HS512"), ("oct", None)),
}
"""Kind and curve of the keys of each algorithm: a key never verifies by an algorithm that is not its own."""
HASH_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Bytes that the key of an HMAC needs at least (RFC 7518 section 3.2)."""
ASYMMETRIC: Final = frozenset(FITTING) - frozenset(HASH_BYTES)
"""What is accepted where a caller says nothing else: an HMAC needs a caller that asks for it."""


def canonical(algorithm: str) -> str:
    """Return the name that this package uses. `Ed25519` is EdDSA with that curve (RFC 9864), the only one we accept."""
    return "EdDSA" if algorithm == "Ed25519" else algorithm


class OneAlgorithm(JWSRegistry):
    """Signs and verifies by one algorithm. Unknown members of a header are ignored (RFC 7515 section 4).

    The sizes are checked before, by `jose.verify`, in characters.
    """

    max_header_length = 64 * 1024
    max_payload_length = 128 * 1024
    max_signature_length = 64 * 1024

    def __init__(self, algorithm: str) -> None:
        super().__init__(algorithms=[_in_joserfc(algorithm)], strict_check_header=False)

    def get_alg(self, name: str) -> Any:
        return super().get_alg(_in_joserfc(name))


def _in_joserfc(algorithm: str) -> str:
    """Name EdDSA by its curve (RFC 9864), because joserfc warns of the name that most servers still use."""
    return "Ed25519" if algorithm == "EdDSA" else algorithm


REGISTRIES: Final = {algorithm: OneAlgorithm(algorithm) for algorithm in FITTING}
"""For each algorithm what signs and verifies by it, and by no other."""
