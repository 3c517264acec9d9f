"""Reads the forms of our own pages that belong to no flow: only a page of ours, in the same browser, can send them."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request

from shopkeeper import crypto
from shopkeeper.errors import CsrfViolation
from shopkeeper.flows.flow import Caller
from shopkeeper.http.pages.layout import PageLayout
from shopkeeper.http.requests import FORM, parse_fields, read_body
from shopkeeper.parsing import media_type_of

MAX_BODY: Final = 20_000
"""Bytes."""


async def read_own_form(request: Request, layout: PageLayout) -> tuple[Caller, Mapping[str, Any]]:
    """Return the caller that sends a form, and its fields.

    Raises `CsrfViolation` unless our page in this browser sent it.
    """
    caller, new_cookie = await layout.caller(request)
    body = await read_body(request, limit=MAX_BODY)
    kind = media_type_of(request.headers.get("content-type"))
    fields = parse_fields(body, FORM) if kind == FORM else {}
    given = crypto.unmask(str(fields.get("csrf_token", "")))
    genuine = any(crypto.same(given, token) for token in caller.csrf_tokens)
    if new_cookie or caller.from_foreign_page or not genuine:
        raise CsrfViolation("The form was not sent by the page that showed it; open the page again and retry.")
    return caller, fields
