"""The webhook for mail providers: which addresses bounce, and who complains about our mails.

In `notify`, `bounce_providers.py` says what providers send, and `bounce_signatures.py` how that is checked. Our own
form, for a provider without an entry there, is one report or a list of at most 100, signed as Standard Webhooks:

    {"type": "bounce", "address": "ada@example.org", "detail": "550 5.1.1 no such user"}

A request that comes twice changes nothing, even where an operator has ended the suppression in between.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper import crypto
from shopkeeper.clock import Clock
from shopkeeper.errors import BadRequest, Unauthenticated
from shopkeeper.http.requests import read_body
from shopkeeper.http.responses import empty_response
from shopkeeper.notify import suppressions
from shopkeeper.notify.addresses import AddressRefused, require_address
from shopkeeper.notify.bounce_providers import PROVIDERS, Report
from shopkeeper.notify.bounce_signatures import TOLERANCE, Delivery
from shopkeeper.notify.values import Suppression
from shopkeeper.parsing import parse_json
from shopkeeper.storage.cache.port import Cache, CacheDown
from shopkeeper.storage.database import Database
from shopkeeper.tally import Tally

PATH: Final = "/webhooks/courier/bounces"
MAX_BODY: Final = 1024 * 1024
"""Bytes. SendGrid sends up to 768 KB of events at once."""
MAX_VALUES: Final = 50_000
"""Values in a body; an event of SparkPost has some forty."""
MAX_REPORTS: Final = 100
"""Reports in a body of our own form. Providers decide themselves how many they send; as many are stored at once."""
KNOWN_FOR: Final = 2 * TOLERANCE
"""How long a request is known again: as long as its time may be accepted, from the earliest moment to the latest."""
_OWN: Final = "standard"

log = structlog.get_logger(__name__)


class BounceReports:
    """The route of reports.

    Args:
        provider: who reports, of `PROVIDERS`.
        secret: as the provider's check wants it. Raises `ValueError` where it has another form.
        cache: remembers requests. While it is down, one that comes again counts again.
    """

    def __init__(
        self, *, database: Database, cache: Cache, clock: Clock, provider: str, secret: str, tally: Tally
    ) -> None:
        self._database, self._cache, self._clock, self._tally = database, cache, clock, tally
        self._name, self._provider = provider, PROVIDERS[provider]
        self._check = self._provider.check(secret)

    def routes(self) -> list[Route]:
        """List the routes."""
        return [Route(PATH, self._report, methods=["POST"])]

    async def _report(self, request: Request) -> Response:
        body = await read_body(request, limit=MAX_BODY)
        known_by = self._check(Delivery(request.headers, body, self._clock.now()))
        if known_by is None:
            raise Unauthenticated("The report is not signed with courier.bounces.secret, or its time is too far off.")
        if await self._came_before(known_by):
            return empty_response()
        reports = list(self._provider.reports(parse_json(body, most_values=MAX_VALUES)))
        found = self._strictly(reports) if self._name == _OWN else self._leniently(reports)
        for start in range(0, len(found), MAX_REPORTS):
            await self._store(found[start : start + MAX_REPORTS])
        await self._remember(known_by)
        return empty_response()

    async def _came_before(self, known_by: str) -> bool:
        try:
            return await self._cache.get(_key(known_by)) is not None
        except CacheDown:
            return False

    async def _remember(self, known_by: str) -> None:
        """Remember a request whose reports are stored: the provider repeats one that we could not store."""
        with suppress(CacheDown):
            await self._cache.set(_key(known_by), b"1", ttl=KNOWN_FOR)

    async def _store(self, found: Sequence[Suppression]) -> None:
        async with self._database.unit() as unit:
            await suppressions.add(unit, *found)
        for suppression in found:
            self._tally.count("suppressions", suppression.reason)

    def _strictly(self, reports: Sequence[Report]) -> list[Suppression]:
        """Return what reports of our own form say; who writes them is to hear of mistakes."""
        if len(reports) > MAX_REPORTS:
            raise BadRequest(f"A request has at most {MAX_REPORTS} reports.")
        try:
            return [self._suppression(report) for report in reports]
        except AddressRefused as refused:
            raise BadRequest("A report has an address that mail cannot be sent to.") from refused

    def _leniently(self, reports: Sequence[Report]) -> list[Suppression]:
        """Return what can be used of a provider's reports. It would send the same again if it were refused."""
        found = []
        for report in reports:
            try:
                found.append(self._suppression(report))
            except AddressRefused:
                log.warning("mail.report_without_address", provider=self._name, reason=report.reason)
        return found

    def _suppression(self, report: Report) -> Suppression:
        recipient = require_address(report.address)
        told = "".join(character for character in report.detail if character.isprintable()) or None
        source = "webhook" if self._name == _OWN else self._name
        return Suppression(recipient, report.reason, source, told, self._clock.now())


def _key(known_by: str) -> str:
    return f"bounce-report:{crypto.digest(known_by).hex()}"
