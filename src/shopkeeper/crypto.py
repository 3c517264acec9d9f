"""Random values, digests, comparison in constant time, keys derived from configured secrets, and sealing.

Everything secret in the house is made and compared here. Keys are derived with HKDF (RFC 5869) so that one configured
secret never serves two purposes; sealing is AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from uuid import UUID

import uuid_utils.compat
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONCE_BYTES = 12


def new_id() -> UUID:
    """A time-ordered id (UUIDv7, RFC 9562 section 5.7)."""
    return uuid_utils.compat.uuid7()


def new_token(prefix: str) -> str:
    """An opaque token with 256 bits of randomness; the prefix tells secret scanners and people what it is."""
    return prefix + secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    """What is stored of a token: its SHA-256. Tokens have 256 random bits, so no salt and no slow hash is needed.

    The text itself is hashed, never a decoding of it, so a re-cased, padded or shortened token is another token.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def same(one: bytes | str, other: bytes | str) -> bool:
    """Compares two secrets in constant time."""
    return hmac.compare_digest(_bytes(one), _bytes(other))


def derive(secret: str, *, purpose: str, length: int = 32) -> bytes:
    """A key for one purpose from a configured secret (HKDF-SHA256)."""
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=b"shopkeeper/" + purpose.encode()).derive(
        secret.encode()
    )


class Unsealable(ValueError):
    """What was presented was not sealed by any of our keys, or was changed since."""


class KeyRing:
    """Keys for one purpose: the first seals, all of them open, so that a secret is rotated by prepending the new one.

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
        """Encrypts and authenticates; `context` must be the same at opening."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._ciphers[0].encrypt(nonce, plain, context)

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        """Gives back what was sealed; raises `Unsealable`."""
        nonce, body = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(nonce, body, context)
            except (InvalidTag, ValueError):
                continue
        raise Unsealable("not sealed by us")

    def seal_text(self, plain: bytes, *, context: bytes) -> str:
        """`seal`, as text that may stand in a URL."""
        return base64.urlsafe_b64encode(self.seal(plain, context=context)).rstrip(b"=").decode()

    def open_text(self, sealed: str, *, context: bytes) -> bytes:
        """`open` for what `seal_text` made; raises `Unsealable`."""
        try:
            raw = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as broken:
            raise Unsealable("not base64url") from broken
        if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != sealed:
            raise Unsealable("not the one spelling that sealing gives")
        return self.open(raw, context=context)


def mask(token: bytes) -> str:
    """A token under a fresh one-time pad, so that it looks different in every page (against BREACH)."""
    pad = secrets.token_bytes(len(token))
    return base64.b64encode(pad + _xor(pad, token)).decode()


def unmask(masked: str) -> bytes:
    """What `mask` hid; empty where the text was not made by `mask`."""
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
