"""Whether a report about a mail comes from the provider: how each way of signing is checked.

A check is made of the secret, once. It returns what a genuine request is known by when it comes again, and None for any
other request. Raises `ValueError` for a secret of another form.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from shopkeeper.crypto import same

TOLERANCE: Final = timedelta(minutes=5)
"""How far a report's time may be from ours; an older one may be a repetition by somebody who has recorded it."""
_LONGEST_ID: Final = 256
_MOST_SIGNATURES: Final = 10
_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - not a secret


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request of a provider, when it came."""

    headers: Mapping[str, str]
    body: bytes
    at: datetime

    @property
    def digest(self) -> str:
        """The digest of the body."""
        return hashlib.sha256(self.body).hexdigest()

    def is_of(self, timestamp: str) -> bool:
        """Return whether a time in seconds is that of this request."""
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
            return False
        return abs(self.at.timestamp() - int(timestamp)) <= TOLERANCE.total_seconds()


Check = Callable[[Delivery], str | None]


def standard_webhooks(secret: str, *, prefix: str = "webhook") -> Check:
    """Check the headers of Standard Webhooks (https://www.standardwebhooks.com): `webhook-signature: v1,…` is an
    HMAC-SHA-256 of `id.timestamp.body`.

    Args:
        secret: base64 after `whsec_`, or any other text.
        prefix: of the headers; Svix has its own.
    """
    key = _key_of(secret)

    def check(delivery: Delivery) -> str | None:
        given, at = delivery.headers.get(f"{prefix}-id", ""), delivery.headers.get(f"{prefix}-timestamp", "")
        if not given or len(given) > _LONGEST_ID or not delivery.is_of(at):
            return None
        signed = b".".join((given.encode(), at.encode(), delivery.body))
        expected = b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256"))
        signatures = delivery.headers.get(f"{prefix}-signature", "").split(" ")[:_MOST_SIGNATURES]
        matches = [same(expected, signature) for signature in signatures]
        return given if any(matches) else None

    return check


def svix(secret: str) -> Check:
    """Check the headers of Svix, from which Standard Webhooks come."""
    return standard_webhooks(secret, prefix="svix")


def mailgun(secret: str) -> Check:
    """Check Mailgun's `signature` in the body: an HMAC-SHA-256 of its timestamp and token. It does not cover the rest
    of the body, so that TLS has to."""

    def check(delivery: Delivery) -> str | None:
        try:
            signature = msgspec.json.decode(delivery.body, type=_MailgunBody).signature
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        signed = f"{signature.timestamp}{signature.token}".encode()
        expected = hmac.digest(secret.encode(), signed, "sha256").hex()
        genuine = same(expected, signature.signature) and delivery.is_of(signature.timestamp)
        return signature.token if genuine else None

    return check


def sendgrid(public_key: str) -> Check:
    """Check SendGrid's signed event webhook: ECDSA over timestamp and body.

    Args:
        public_key: as SendGrid shows it, base64 without the lines of PEM.
    """
    try:
        key = load_der_public_key(base64.b64decode(public_key, validate=True))
    except (binascii.Error, ValueError) as broken:
        raise ValueError("courier.bounces.secret must be the verification key that SendGrid shows") from broken
    if not isinstance(key, EllipticCurvePublicKey):
        raise ValueError(
            "courier.bounces.secret must be the verification key that SendGrid shows, of an elliptic curve"
        )

    def check(delivery: Delivery) -> str | None:
        at = delivery.headers.get("x-twilio-email-event-webhook-timestamp", "")
        signature = delivery.headers.get("x-twilio-email-event-webhook-signature", "")
        try:
            key.verify(base64.b64decode(signature, validate=True), at.encode() + delivery.body, ECDSA(SHA256()))
        except (InvalidSignature, binascii.Error, ValueError):
            return None
        # Not by the signature: whoever has one can compute another one of the same message.
        return f"{at} {delivery.digest}" if delivery.is_of(at) else None

    return check


def shared_secret(secret: str) -> Check:
    """Check a secret that the provider sends along: as a bearer token, or as the password in the webhook's address."""

    def check(delivery: Delivery) -> str | None:
        scheme, _, given = delivery.headers.get("authorization", "").partition(" ")
        sent = {"bearer": given, "basic": _password_in(given)}.get(scheme.lower(), "")
        return delivery.digest if same(secret, sent) else None

    return check


class _MailgunSignature(msgspec.Struct):
    timestamp: str
    token: str
    signature: str


class _MailgunBody(msgspec.Struct):
    signature: _MailgunSignature


def _key_of(secret: str) -> bytes:
    if not secret.startswith(_SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError) as broken:
        raise ValueError("courier.bounces.secret has no base64 after whsec_") from broken


def _password_in(credentials: str) -> Any:
    try:
        return base64.b64decode(credentials, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""
