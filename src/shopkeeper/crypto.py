"""Random values, digests, constant-time comparison, keys derived from configured secrets, and sealing.

All secrets are generated and compared here. Keys are derived with HKDF (RFC 5869), so that one configured secret never
serves two purposes. Sealing is AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import uuid_utils.compat
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

OWN_PREFIX: Final = "shk_"
"""What every token of this server with a prefix begins with, so that none is sent to another server as its own."""
NONCE_BYTES = 12
CSRF_BYTES = 32
"""Bytes of an anti-CSRF token."""


def new_id() -> UUID:
    """Return a time-ordered id (UUIDv7, RFC 9562 section 5.7)."""
    return uuid_utils.compat.uuid7()


def new_token(prefix: str) -> str:
    """Return an opaque token with 256 random bits; its prefix identifies the kind of token, also to secret scanners."""
    return prefix + secrets.token_urlsafe(32)


def new_csrf_token() -> bytes:
    """Return a new random value for the anti-CSRF cookie."""
    return secrets.token_bytes(CSRF_BYTES)


def digest(token: str) -> bytes:
    """Return the SHA-256 of a token, which is stored in its place.

    A token has 256 random bits, so it needs no salt and no slow hash. The text itself is hashed, not its decoded bytes,
    so a token that is re-cased, padded or shortened has another digest.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def same(one: bytes | str, other: bytes | str) -> bool:
    """Compare two secrets in constant time. Nothing proves nothing: two that are empty are not the same.

    >>> same("9f3c", "9f3c"), same("", "")
    (True, False)
    """
    return hmac.compare_digest(_bytes(one), _bytes(other)) and bool(one)


def derive(secret: str, *, purpose: str, length: int = 32) -> bytes:
    """Derive a key for one purpose from a configured secret (HKDF-SHA256)."""
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=b"shopkeeper/" + purpose.encode()).derive(
        secret.encode()
    )


class Unsealable(ValueError):
    """Raised when a value was not sealed with any of our keys, or was changed since."""


class KeyRing:
    """Keys for one purpose. The first seals and all of them open: rotate a secret by prepending the new one.

    >>> ring = KeyRing(["a secret of the shop"], purpose="doctest")
    >>> ring.open(ring.seal(b"hello", context=b"greeting"), context=b"greeting")
    b'hello'
    """

    def __init__(self, secrets_: Sequence[str], *, purpose: str) -> None:
        if not secrets_:
            raise ValueError(f"no secret configured for {purpose}")
        self.keys = [derive(secret, purpose=purpose) for secret in secrets_]
        self._ciphers = [AESGCM(key) for key in self.keys]

    def seal(self, plain: bytes, *, context: bytes) -> bytes:
        """Encrypt and authenticate `plain`; `open` needs the same `context`."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._ciphers[0].encrypt(nonce, plain, context)

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        """Return what was sealed. Raises `Unsealable`."""
        nonce, body = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(nonce, body, context)
            except (InvalidTag, ValueError):
                continue
        raise Unsealable("not sealed by us")

    def seal_text(self, plain: bytes, *, context: bytes) -> str:
        """Seal `plain` and encode the result as URL-safe text."""
        return base64.urlsafe_b64encode(self.seal(plain, context=context)).rstrip(b"=").decode()

    def open_text(self, sealed: str, *, context: bytes) -> bytes:
        """Return what `seal_text` sealed. Raises `Unsealable`."""
        try:
            raw = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as broken:
            raise Unsealable("not base64url") from broken
        if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != sealed:
            raise Unsealable("not the one spelling that sealing gives")
        return self.open(raw, context=context)


def mask(token: bytes) -> str:
    """Mask a token with a random one-time pad, so that it differs in every page (against BREACH)."""
    pad = secrets.token_bytes(len(token))
    return base64.b64encode(pad + _xor(pad, token)).decode()


def unmask(masked: str) -> bytes:
    """Return the token that `mask` masked, or empty bytes where the text does not come from `mask`."""
    try:
        raw = base64.b64decode(masked, validate=True)
    except (binascii.Error, ValueError):
        return b""
    half = len(raw) // 2
    return _xor(raw[:half], raw[half:]) if len(raw) == 2 * half else b""


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _bytes(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
