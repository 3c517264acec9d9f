"""The admin API: a code or a link with which a customer recovers the account (contract page section 1.2)."""

from collections.abc import Callable
from datetime import timedelta

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.commerce.stores import STORE, TENANT, Stores
from shopkeeper.errors import InvalidInput
from shopkeeper.flows.flow import FlowType
from shopkeeper.flows.operator_recovery import Handing, OperatorRecovery
from shopkeeper.http.admin import Operators
from shopkeeper.http.admin_input import body_of
from shopkeeper.http.requests import require_uuid
from shopkeeper.http.responses import json_response
from shopkeeper.http.serializers import moment
from shopkeeper.storage.database import Database


class RecoveryLinkBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Whose account is recovered, and for how long."""

    identity_id: str
    expires_in: str | None = None


class RecoveryCodeBody(RecoveryLinkBody, forbid_unknown_fields=True, kw_only=True):
    """The same, and the kind of client that the code is typed in."""

    flow_type: FlowType | None = None


class AdminRecovery:
    """`/recovery/code` and `/recovery/link` on the admin port.

    `read_duration` parses a duration as the configuration writes it, such as `1h30m`; it raises `ValueError`.
    """

    def __init__(
        self,
        *,
        database: Database,
        recovery: OperatorRecovery,
        stores: Stores,
        operators: Operators,
        max_body: int,
        read_duration: Callable[[str], timedelta],
    ) -> None:
        self._read_duration = read_duration
        self._database = database
        self._recovery = recovery
        self._stores = stores
        self._operators = operators
        self._max_body = max_body

    def routes(self) -> list[Route]:
        """List the routes."""
        return [
            Route("/recovery/code", self._code, methods=["POST"]),
            Route("/recovery/link", self._link, methods=["POST"]),
        ]

    async def _code(self, request: Request) -> Response:
        body = await body_of(request, RecoveryCodeBody, limit=self._max_body)
        async with self._database.unit() as unit:
            handed = await self._recovery.code(
                unit, self._asked(request, body), type=body.flow_type or FlowType.BROWSER
            )
        shown = {"recovery_link": handed.link, "recovery_code": handed.code, "expires_at": moment(handed.expires_at)}
        return json_response(shown, 201)

    async def _link(self, request: Request) -> Response:
        body = await body_of(request, RecoveryLinkBody, limit=self._max_body)
        async with self._database.unit() as unit:
            handed = await self._recovery.link(unit, self._asked(request, body))
        return json_response({"recovery_link": handed.link, "expires_at": moment(handed.expires_at)})

    def _asked(self, request: Request, body: RecoveryLinkBody) -> Handing:
        """Return what is asked for. The store is chosen by query only: the admin port's host names none."""
        query, by = request.query_params, self._operators.of(request)
        front = self._stores.choose(name=query.get(STORE), tenant=query.get(TENANT), host=None)
        wrong = InvalidInput("'identity_id' must be the id of an identity, a UUID.")
        return Handing(
            require_uuid(body.identity_id, otherwise=wrong),
            front.id,
            by=by.name,
            client=by.client,
            expires_in=self._duration(body.expires_in),
            return_to=query.get("return_to") or None,
        )

    def _duration(self, text: str | None) -> timedelta | None:
        if not text:
            return None
        try:
            return self._read_duration(text)
        except ValueError as wrong:
            raise InvalidInput(f"'expires_in' {wrong}.") from wrong
