"""What the account page's buttons do that belong to no flow: signing devices out, and mailing to an address again."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper import crypto
from shopkeeper.errors import NotFound
from shopkeeper.flows.flow import VERIFICATION, Caller, FlowType, Opening, Submission
from shopkeeper.flows.outcomes import FlowInvalid, FlowRefused
from shopkeeper.flows.pipeline import Pipeline
from shopkeeper.http.pages.layout import PageEndpoint, PageLayout, Place
from shopkeeper.http.pages.own_forms import read_own_form
from shopkeeper.http.requests import require_uuid
from shopkeeper.http.responses import redirect
from shopkeeper.sessions.service import Sessions
from shopkeeper.storage.database import Database


@dataclass(frozen=True, slots=True)
class AccountActions:
    """The routes of the buttons. `verification_url` is the page of verification flows."""

    database: Database
    pipeline: Pipeline
    sessions: Sessions
    layout: PageLayout
    place: Place
    verification_url: str

    def routes(self) -> list[Route]:
        """List the routes."""
        return [
            self._route("/account/sessions/revoke", self._revoke),
            self._route("/account/sessions/revoke-others", self._revoke_others),
            self._route("/account/sessions/revoke-all", self._revoke_all),
            self._route("/account/addresses/confirm", self._confirm_address),
        ]

    def _route(self, path: str, endpoint: PageEndpoint) -> Route:
        return Route(path, self.layout.with_error_page(endpoint), methods=["POST"])

    async def _revoke(self, request: Request) -> Response:
        caller, fields = await read_own_form(request, self.layout)
        if caller.session is None:
            return self._back({})
        session_id = require_uuid(str(fields.get("session")), otherwise=NotFound("There is no such session."))
        async with self.database.unit() as unit:
            await self.sessions.revoke_own(unit, caller.session, session_id, client=caller.client)
        return self._back(fields, done="one")

    async def _revoke_others(self, request: Request) -> Response:
        caller, fields = await read_own_form(request, self.layout)
        if caller.session is None:
            return self._back({})
        async with self.database.unit() as unit:
            await self.sessions.revoke_others(unit, caller.session, client=caller.client)
        return self._back(fields, done="others")

    async def _revoke_all(self, request: Request) -> Response:
        """Sign out on the other devices, then here as the link does, which also deletes the cookies."""
        caller, _ = await read_own_form(request, self.layout)
        if caller.session is None:
            return self._back({})
        async with self.database.unit() as unit:
            await self.sessions.revoke_others(unit, caller.session, client=caller.client)
        return self.layout.go(f"/self-service/logout?token={self.sessions.logout_token(caller.session)}")

    async def _confirm_address(self, request: Request) -> Response:
        """Open a verification flow, and ask for the mail in it. The flow shows what has come of it."""
        caller, fields = await read_own_form(request, self.layout)
        if caller.session is None:
            return self._back({})
        opening = Opening(
            FlowType.BROWSER,
            request_url=f"{self.place.base_url}/self-service/{VERIFICATION}/browser",
            return_to=f"{self.place.base_url}/account",
        )
        flow = await self.pipeline.open(VERIFICATION, opening, caller)
        button = flow.node("method")
        sent = {"email": str(fields.get("address", "")), "method": button.value if button else ""}
        await self._submit(str(flow.id), sent, caller)
        return redirect(f"{self.verification_url}?flow={flow.id}")

    async def _submit(self, flow_id: str, fields: Mapping[str, object], caller: Caller) -> None:
        token = crypto.mask(caller.csrf) if caller.csrf else ""

        async def read() -> Submission:
            return Submission(fields=fields, csrf_token=token)

        try:
            await self.pipeline.submit(VERIFICATION, flow_id, read, caller)
        except FlowInvalid:
            return
        except FlowRefused as refused:
            raise refused.refusal from refused

    def _back(self, fields: Mapping[str, object], *, done: str = "") -> Response:
        known = {"flow": fields.get("flow"), "done": done}
        query = urlencode({name: str(value) for name, value in known.items() if value})
        return self.layout.go(f"/account?{query}#devices" if query else "/account")
