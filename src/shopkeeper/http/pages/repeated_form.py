"""The page that posts another site's form once more, from our own address.

Browsers add our cookies to the second POST, because it comes from a page of ours. A script of ours sends it as soon as
the page is there; its button does where scripts are switched off.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from shopkeeper.http.pages.layout import PageLayout


@dataclass(frozen=True, slots=True)
class RepeatedForm:
    """Shows the page. It has neither the visitor's account nor their language, and sets no cookie: the request brought
    none along, and a new one would take the place of the visitor's."""

    layout: PageLayout = field(repr=False)

    def of(self, request: Request, fields: Mapping[str, str]) -> Response:
        """Show the page for a form that was posted to the address of this request."""
        answer = self.layout.answer(request, "repeated_form", {"fields": fields, "languages": ()})
        # The sign-in leads on to the shop's pages, or to an app: browsers apply `form-action` to these redirects too.
        policy = answer.headers["Content-Security-Policy"]
        kept = [part for part in policy.split("; ") if not part.startswith("form-action ")]
        answer.headers["Content-Security-Policy"] = "; ".join(kept)
        answer.headers["Referrer-Policy"] = "no-referrer"
        return answer
