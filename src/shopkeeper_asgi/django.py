"""The middleware and the decorator for Django: `request.session_user` is who sends the request.

`request.user` stays that of `django.contrib.auth`. The middleware takes its authenticator from the settings:

>>> MIDDLEWARE = ["shopkeeper_asgi.django.session_middleware"]
>>> SHOPKEEPER_AUTHENTICATOR = "shop.sessions.authenticator"  # the dotted path of an `Authenticator`
"""

from collections.abc import Callable, Iterable
from functools import wraps
from inspect import isawaitable
from typing import Any, cast

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils.decorators import sync_and_async_middleware
from django.utils.module_loading import import_string
from django.views import View as ClassView

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
    """Return a decorator for one view, synchronous or asynchronous; with `method_decorator`, for a class's `dispatch`.

    Args:
        authenticator: who verifies the tokens.
        optional: whether requests without a token pass, with None for the user.
    """
    return lambda view: wraps(view)(_guarded(view, authenticator, optional=optional))


def _guarded(view: View, authenticator: Authenticator, *, optional: bool | None) -> View:
    async def asynchronous(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            request.session_user = await authenticator.authenticate(
                _headers(request), method=request.method or "GET", optional=optional
            )
        except AuthenticationFailed as failed:
            return _refused(failed)
        answer = view(request, *args, **kwargs)
        return cast(HttpResponseBase, await answer if isawaitable(answer) else answer)

    def synchronous(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            request.session_user = authenticator.authenticate_sync(
                _headers(request), method=request.method or "GET", optional=optional
            )
        except AuthenticationFailed as failed:
            return _refused(failed)
        answer: HttpResponseBase = view(request, *args, **kwargs)
        return answer

    return asynchronous if _is_asynchronous(view) else synchronous


def _is_asynchronous(view: View | None) -> bool:
    """Whether a view is awaited. A class's `dispatch` is no coroutine function, but returns what its methods do."""
    if iscoroutinefunction(view):
        return True
    while view is not None:  # `method_decorator` gives a partial of the method, below further decorators perhaps
        owner = getattr(getattr(view, "func", view), "__self__", None)
        if isinstance(owner, ClassView):
            return bool(owner.view_is_async)
        view = getattr(view, "__wrapped__", None)
    return False


def _headers(request: HttpRequest) -> Iterable[Header]:
    # Django leaves names with an underscore out of its own table where it is served over ASGI.
    scope = getattr(request, "scope", None)
    return request.headers.items() if scope is None else headers_of(scope)


def _refused(failed: AuthenticationFailed) -> HttpResponseBase:
    answer: HttpResponseBase = JsonResponse(failed.as_dict(), status=failed.status, headers=failed.headers)
    return answer
