"""The middleware and the decorator for Django: `request.session_user` is who sends the request.

`request.user` stays that of `django.contrib.auth`. The middleware takes its authenticator from the settings:

>>> MIDDLEWARE = ["shopkeeper_asgi.django.session_middleware"]
>>> SHOPKEEPER_AUTHENTICATOR = "shop.sessions.authenticator"  # the dotted path of an `Authenticator`
"""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils.decorators import sync_and_async_middleware
from django.utils.module_loading import import_string

from shopkeeper_asgi.asgi import headers_of
from shopkeeper_asgi.authenticator import Authenticator
from shopkeeper_asgi.credentials import Header
from shopkeeper_asgi.errors import AuthenticationFailed

View = Callable[..., Any]


@sync_and_async_middleware  # type: ignore[untyped-decorator]
def session_middleware(get_response: View) -> View:
    """Return the middleware of a synchronous or an asynchronous handler."""
    return _guarded(get_response, import_string(settings.SHOPKEEPER_AUTHENTICATOR), optional=None)


def session_required(authenticator: Authenticator, *, optional: bool = False) -> Callable[[View], View]:
    """Return a decorator for one view, synchronous or asynchronous.

    Args:
        authenticator: who verifies the tokens.
        optional: whether requests without a token pass, with None for the user.
    """
    return lambda view: wraps(view)(_guarded(view, authenticator, optional=optional))


def _guarded(view: View, authenticator: Authenticator, *, optional: bool | None) -> View:
    if iscoroutinefunction(view):

        async def asynchronous(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                request.session_user = await authenticator.authenticate(
                    _headers(request), method=request.method or "GET", optional=optional
                )
            except AuthenticationFailed as failed:
                return _refused(failed)
            answer: HttpResponseBase = await view(request, *args, **kwargs)
            return answer

        return asynchronous

    def synchronous(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            request.session_user = authenticator.authenticate_sync(
                _headers(request), method=request.method or "GET", optional=optional
            )
        except AuthenticationFailed as failed:
            return _refused(failed)
        answer: HttpResponseBase = view(request, *args, **kwargs)
        return answer

    return synchronous


def _headers(request: HttpRequest) -> Iterable[Header]:
    # Django leaves names with an underscore out of its own table where it is served over ASGI.
    scope = getattr(request, "scope", None)
    return request.headers.items() if scope is None else headers_of(scope)


def _refused(failed: AuthenticationFailed) -> HttpResponseBase:
    answer: HttpResponseBase = JsonResponse(failed.as_dict(), status=failed.status, headers=failed.headers)
    return answer
