"""Reports as mail providers send and sign them."""

import base64
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import httpx2
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette

from shopkeeper.clock import StoppedClock
from shopkeeper.http.bounces import PATH, BounceReports
from shopkeeper.notify import suppressions
from shopkeeper.notify.bounce_providers import PROVIDERS, Report
from shopkeeper.notify.bounce_signatures import Delivery
from shopkeeper.settings.courier import Bounces
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.database import Database
from shopkeeper.tally import Tally

EXAMPLES: Mapping[str, list[Any]] = yaml.safe_load((Path(__file__).parent / "bounce_reports.yml").read_text())
SHARED = "a shared secret of some length"
SIGNING_KEY = ec.generate_private_key(ec.SECP256R1())
VERIFICATION_KEY = base64.b64encode(
    SIGNING_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()
NOW = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)
AT = int(NOW.timestamp())
Signed = tuple[bytes, dict[str, str]]


def plain(document: Any, _at: int, secret: str = SHARED) -> Signed:
    return json.dumps(document).encode(), {"authorization": f"Bearer {secret}"}


def by_svix(document: Any, at: int, secret: str = SHARED) -> Signed:
    body = json.dumps(document).encode()
    signature = base64.b64encode(hmac.digest(secret.encode(), f"msg_1.{at}.".encode() + body, "sha256")).decode()
    return body, {"svix-id": "msg_1", "svix-timestamp": str(at), "svix-signature": f"v1,{signature}"}


def by_mailgun(document: Any, at: int, secret: str = SHARED) -> Signed:
    signature = hmac.digest(secret.encode(), f"{at}t0k3n".encode(), "sha256").hex()
    return json.dumps(
        {"signature": {"timestamp": str(at), "token": "t0k3n", "signature": signature}, **document}
    ).encode(), {}


def by_sendgrid(document: Any, at: int, key: ec.EllipticCurvePrivateKey = SIGNING_KEY) -> Signed:
    body = json.dumps(document).encode()
    signature = base64.b64encode(key.sign(str(at).encode() + body, ec.ECDSA(SHA256()))).decode()
    return body, {
        "x-twilio-email-event-webhook-signature": signature,
        "x-twilio-email-event-webhook-timestamp": str(at),
    }


SIGNED: Mapping[str, Callable[..., Signed]] = {
    "brevo": plain,
    "mailgun": by_mailgun,
    "postmark": plain,
    "resend": by_svix,
    "sendgrid": by_sendgrid,
    "ses": plain,
    "sparkpost": plain,
}


def examples() -> Iterator[Any]:
    for provider, told in EXAMPLES.items():
        for number, example in enumerate(told):
            yield pytest.param(provider, example, id=f"{provider}-{number}-{example['means']}")


class Receiver:
    """What the webhook of a provider checks and reads."""

    def __init__(self, provider: str) -> None:
        self._reports = PROVIDERS[provider].reports
        self._check = PROVIDERS[provider].check(VERIFICATION_KEY if provider == "sendgrid" else SHARED)

    def takes(self, signed: Signed) -> bool:
        body, headers = signed
        return self._check(Delivery(headers, body, NOW)) is not None

    def reads(self, signed: Signed) -> list[Report]:
        assert self.takes(signed)
        return list(self._reports(json.loads(signed[0])))


@pytest.mark.parametrize(("provider", "example"), list(examples()))
def test_only_missing_mailboxes_and_complaints_are_reported(provider: str, example: Any) -> None:
    found = Receiver(provider).reads(SIGNED[provider](example["body"], AT))
    expected = [] if example["means"] == "nothing" else [("ada@example.org", example["means"], example.get("detail"))]
    assert [(one.address, str(one.reason), one.detail or None) for one in found] == expected


@pytest.mark.parametrize("provider", SIGNED)
def test_row_009_what_the_provider_has_not_signed_is_refused(provider: str) -> None:
    receiver, body = Receiver(provider), EXAMPLES[provider][0]["body"]
    wrong: Any = ec.generate_private_key(ec.SECP256R1()) if provider == "sendgrid" else "another secret of some length"
    assert receiver.takes(SIGNED[provider](body, AT))
    assert not receiver.takes(SIGNED[provider](body, AT, wrong))
    assert not receiver.takes((json.dumps(body).encode(), {}))
    assert not receiver.takes((b"[" * 60_000, {"authorization": "Basic !"}))
    if SIGNED[provider] is not plain:
        assert not receiver.takes(SIGNED[provider](body, AT - 301))
        assert not receiver.takes(SIGNED[provider](body, AT + 301))


@pytest.mark.parametrize("provider", ["resend", "sendgrid"])
def test_row_009_what_was_signed_cannot_be_changed(provider: str) -> None:
    body, headers = SIGNED[provider](EXAMPLES[provider][0]["body"], AT)
    assert not Receiver(provider).takes((body.replace(b"ada@", b"eve@"), headers))


@pytest.mark.parametrize("provider", ["brevo", "postmark", "ses", "sparkpost"])
def test_a_secret_in_the_webhooks_address_is_taken(provider: str) -> None:
    for secret, taken in ((SHARED, True), ("another", False), ("", False)):
        pair = base64.b64encode(f"shop:{secret}".encode()).decode()
        assert Receiver(provider).takes((b"{}", {"authorization": f"Basic {pair}"})) is taken


@pytest.mark.parametrize("provider", SIGNED)
@pytest.mark.parametrize(
    "document",
    [{}, {"event-data": [], "event": {}, "type": [], "data": 5}, {"detail": {"eventType": "Bounce"}}, {"msys": [1]}],
    ids=["empty", "other types", "no bounce", "no events"],
)
def test_what_has_another_shape_reports_nothing(provider: str, document: Any) -> None:
    assert Receiver(provider).reads(SIGNED[provider](document, AT)) == []


def receiving(provider: str, database: Database, clock: StoppedClock) -> BounceReports:
    secret = VERIFICATION_KEY if provider == "sendgrid" else SHARED
    return BounceReports(
        database=database, cache=MemoryCache(clock), clock=clock, provider=provider, secret=secret, tally=Tally()
    )


@pytest.mark.parametrize("provider", SIGNED)
async def test_row_055_a_report_sent_again_does_not_undo_what_an_operator_has_decided(
    database: Database, clock: StoppedClock, provider: str
) -> None:
    example = next(each for each in EXAMPLES[provider] if each["means"] == "bounce")
    at, transport = (
        int(clock.now().timestamp()),
        httpx2.ASGITransport(app=Starlette(routes=receiving(provider, database, clock).routes())),
    )

    async def reported(body: Any, headers: Any) -> bool:
        """Send a report; return whether it suppresses the address, and end that."""
        assert (await client.post(PATH, content=body, headers=headers)).status_code == 204
        async with database.unit() as unit:
            return await suppressions.remove(unit, "ada@example.org")

    async with httpx2.AsyncClient(transport=transport, base_url="http://shop.test") as client:
        first = SIGNED[provider](example["body"], at + 299)
        assert await reported(*first)
        assert not await reported(*first)
        clock.advance(seconds=598)
        assert not await reported(*first)
        if provider == "mailgun":  # it signs no body: what was signed once serves for no other address
            assert not await reported(first[0].replace(b'"bounce"', b'"suppress-bounce"'), first[1])
        if provider == "sendgrid":  # another signature of the same message
            assert not await reported(first[0], by_sendgrid(example["body"], at + 299)[1])


async def test_many_at_once_are_stored_and_an_address_that_is_none_is_passed_over(
    database: Database, clock: StoppedClock
) -> None:
    reports = receiving("sendgrid", database, clock)
    addresses = [f"{number:03}@example.org" for number in range(250)]
    events = [{"event": "spamreport", "email": each} for each in [*addresses, addresses[0].upper(), "no address", 5]]
    body, headers = by_sendgrid(events, int(clock.now().timestamp()))
    transport = httpx2.ASGITransport(app=Starlette(routes=reports.routes()))
    async with httpx2.AsyncClient(transport=transport, base_url="http://shop.test") as client:
        for _ in range(2):  # a provider repeats what it is unsure about
            assert (await client.post(PATH, content=body, headers=headers)).status_code == 204
    async with database.unit() as unit:
        found = await suppressions.page(unit, after=None, limit=1000)
    assert [one.address for one in found] == addresses
    assert {(one.source, str(one.reason)) for one in found} == {("sendgrid", "complaint")}


@pytest.mark.parametrize(
    "secret",
    [
        "not the base64 of a key",
        base64.b64encode(b"no key").decode(),
        base64.b64encode(
            rsa.generate_private_key(65537, 2048)
            .public_key()
            .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ).decode(),
    ],
    ids=["no base64", "no key", "a key of RSA"],
)
def test_a_key_that_sendgrid_does_not_show_stops_the_start(secret: str) -> None:
    with pytest.raises(ValueError, match=r"courier\.bounces\.secret must be the verification key"):
        PROVIDERS["sendgrid"].check(secret)


def test_every_provider_can_be_configured_and_has_examples() -> None:
    assert set(get_args(Bounces.model_fields["provider"].annotation)) == PROVIDERS.keys()
    assert EXAMPLES.keys() == SIGNED.keys() == PROVIDERS.keys() - {"standard"}
    assert all({"bounce", "complaint", "nothing"} <= {one["means"] for one in told} for told in EXAMPLES.values())


@pytest.mark.parametrize("provider", ["mailgun", "resend", "sendgrid"])
@pytest.mark.parametrize(
    "at", ["", "0", "-1", "1e9", "99999999999", "999999999999", "9" * 13, "9" * 5000, "١٢٣٤٥٦٧٨٩٠", f"{AT}.0", f" {AT}"]
)
def test_row_009_a_signed_report_of_another_time_is_refused_whatever_it_gives_as_time(provider: str, at: str) -> None:
    secret = VERIFICATION_KEY if provider == "sendgrid" else SHARED
    body, headers = SIGNED[provider]({}, at)
    assert not PROVIDERS[provider].check(secret)(Delivery(headers, body, NOW))
    body, headers = SIGNED[provider]({}, AT)
    assert PROVIDERS[provider].check(secret)(Delivery(headers, body, NOW))
