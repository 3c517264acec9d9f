"""The webhook for mail providers: which addresses bounce, and who complains about our mails.

Reports are signed as Standard Webhooks are (https://www.standardwebhooks.com): `webhook-id`, `webhook-timestamp` and
`webhook-signature: v1,…`, an HMAC-SHA-256 of `id.timestamp.body`. A body is one report, or a list of at most 100:

    {"type": "bounce", "address": "ada@example.org", "detail": "550 5.1.1 no such user"}

`type` is `bounce` (the mailbox does not exist) or `complaint`. A report that comes twice changes nothing.
"""

import base64
import binascii
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.clock import Clock
from shopkeeper.crypto import same
from shopkeeper.errors import BadRequest, Unauthenticated
from shopkeeper.http.requests import read_body
from shopkeeper.http.responses import empty_response
from shopkeeper.notify import suppressions
from shopkeeper.notify.addresses import AddressRefused, require_address
from shopkeeper.notify.values import Suppression, SuppressionReason
from shopkeeper.parsing import parse_json
from shopkeeper.storage.database import Database
from shopkeeper.tally import Tally

PATH: Final = "/webhooks/courier/bounces"
MAX_BODY: Final = 64 * 1024
MAX_REPORTS: Final = 100
TOLERANCE: Final = timedelta(minutes=5)
"""How far a report's time may be from ours; an older one may be a repetition by somebody who has recorded it."""
_LONGEST_ID: Final = 256
_MOST_SIGNATURES: Final = 10
_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - not a secret
_REASONS: Final = {"bounce": SuppressionReason.BOUNCE, "complaint": SuppressionReason.COMPLAINT}


class BounceReports:
    """The route of reports.

    Args:
        secret: signs reports: base64 after `whsec_`, or any other text.
    """

    def __init__(self, *, database: Database, clock: Clock, secret: str, tally: Tally) -> None:
        self._database, self._clock, self._tally = database, clock, tally
        self._key = _key_of(secret)

    def routes(self) -> list[Route]:
        """List the routes."""
        return [Route(PATH, self._report, methods=["POST"])]

    async def _report(self, request: Request) -> Response:
        body = await read_body(request, limit=MAX_BODY)
        if not self._genuine(request, body):
            raise Unauthenticated("The report is not signed with courier.bounces.secret, or its time is too far off.")
        found = [self._suppression(report) for report in _reports(parse_json(body))]
        async with self._database.unit() as unit:
            for suppression in sorted(found, key=lambda one: one.address):  # so that two reports do not deadlock
                await suppressions.add(unit, suppression)
        for suppression in found:
            self._tally.count("suppressions", suppression.reason)
        return empty_response()

    def _genuine(self, request: Request, body: bytes) -> bool:
        given, at = request.headers.get("webhook-id", ""), request.headers.get("webhook-timestamp", "")
        if not given or len(given) > _LONGEST_ID or not (at.isascii() and at.isdigit() and len(at) <= 12):
            return False
        signed = b".".join((given.encode(), at.encode(), body))
        expected = b"v1," + base64.b64encode(hmac.digest(self._key, signed, "sha256"))
        signatures = request.headers.get("webhook-signature", "").split(" ")[:_MOST_SIGNATURES]
        matches = [same(expected, signature) for signature in signatures]
        timely = abs(self._clock.now() - datetime.fromtimestamp(int(at), UTC)) <= TOLERANCE
        return any(matches) and timely

    def _suppression(self, report: Any) -> Suppression:
        if not isinstance(report, dict) or report.get("type") not in _REASONS:
            raise BadRequest(f"A report has a type, one of: {', '.join(_REASONS)}.")
        address, detail = report.get("address"), report.get("detail")
        if not isinstance(address, str) or not (detail is None or isinstance(detail, str)):
            raise BadRequest("A report has an address, and perhaps a detail, as texts.")
        try:
            recipient = require_address(address)
        except AddressRefused as refused:
            raise BadRequest("A report has an address that mail cannot be sent to.") from refused
        told = "".join(character for character in detail if character.isprintable()) if detail else None
        return Suppression(recipient, _REASONS[report["type"]], "webhook", told, self._clock.now())


def _reports(document: Any) -> Sequence[Any]:
    reports = document if isinstance(document, list) else [document]
    if len(reports) > MAX_REPORTS:
        raise BadRequest(f"A request has at most {MAX_REPORTS} reports.")
    return reports


def _key_of(secret: str) -> bytes:
    if not secret.startswith(_SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError) as broken:
        raise ValueError("courier.bounces.secret has no base64 after whsec_") from broken
