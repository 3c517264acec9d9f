"""Pages with one button, for what a mailed link asks for: programs that read mails open links, but press no buttons.

Each purpose has its texts in the template `one_click`. A link leads to a route that shows the page, and takes its form.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from shopkeeper.errors import NotFound
from shopkeeper.flows.flow import Caller
from shopkeeper.http.pages.layout import PageLayout, masked


class Purpose(StrEnum):
    """What the click does."""

    RECOVERY = "recovery"
    VERIFICATION = "verification"
    UNDO_ADDRESS = "undo_address"
    IMPERSONATION = "impersonation"


@dataclass(frozen=True, slots=True)
class Shown:
    """The facts that help readers to decide; each may be missing."""

    address: str = ""
    at: datetime | None = None

    def __bool__(self) -> bool:
        return bool(self.address or self.at)


NOTHING = Shown()


@dataclass(frozen=True, slots=True)
class OneClickPages:
    """Renders the pages. A page's address may hold the link's token, so that no other site learns the address."""

    layout: PageLayout = field(repr=False)

    async def ask(
        self, request: Request, purpose: Purpose, *, action: str, fields: Mapping[str, str], shown: Shown = NOTHING
    ) -> Response:
        """Show the button. It posts the fields, and the anti-CSRF token of this browser, to `action`."""
        caller, cookie = await self.layout.caller(request)
        sent = {**fields, "csrf_token": masked(caller.csrf)}
        context = {"purpose": purpose.value, "state": "asked", "action": action, "fields": sent, "shown": shown}
        return self._answer(request, context, caller, cookie)

    async def done(self, request: Request, purpose: Purpose, *, account: UUID, next_url: str = "") -> Response:
        """Say that it has been done, which has ended every session of the account, also that of this request.

        `next_url` is where the reader chooses a new password.
        """
        caller, cookie = await self.layout.caller(request)
        if caller.signed_in_as(account):
            caller = replace(caller, session=None)
        return self._answer(request, {"purpose": purpose.value, "state": "done", "next": next_url}, caller, cookie)

    async def over(self, request: Request, purpose: Purpose) -> Response:
        """Say that the link is unknown, used or too old."""
        caller, cookie = await self.layout.caller(request)
        answer = self._answer(request, {"purpose": purpose.value, "state": "over"}, caller, cookie)
        answer.status_code = NotFound.status
        return answer

    def _answer(self, request: Request, context: Mapping[str, object], caller: Caller, cookie: str | None) -> Response:
        answer = self.layout.answer(request, "one_click", context, caller=caller, cookie=cookie)
        answer.headers["Referrer-Policy"] = "strict-origin"
        return answer
