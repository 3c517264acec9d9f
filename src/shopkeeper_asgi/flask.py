"""The decorator and the extension for Flask: `g.session_user` is who sends the request.

>>> Sessions(authenticator).init_app(app)  # for every view  # doctest: +SKIP
>>> @app.get("/users/profile")  # or for one  # doctest: +SKIP
... @session_required(authenticator)
... def profile(): ...
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Flask, Response, abort, current_app, g, jsonify, request

from shopkeeper_asgi.authenticator import Authenticator
from shopkeeper_asgi.errors import AuthenticationFailed

View = Callable[..., Any]


class Sessions:
    """Authenticates every request of an application before its view; those that Flask answers without one pass.

    Args:
        authenticator: who verifies the tokens; whether requests without one pass is its `optional`.
    """

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def init_app(self, app: Flask) -> None:
        """Register with an application."""
        app.before_request(self._before)

    def _before(self) -> None:
        # A browser asks without a token whether it may send one; Flask answers that itself and calls no view.
        if request.method == "OPTIONS" and getattr(request.url_rule, "provide_automatic_options", False):
            g.session_user = None
        else:
            _authenticate(self._authenticator, optional=None)


def session_required(authenticator: Authenticator, *, optional: bool = False) -> Callable[[View], View]:
    """Return a decorator for one view. It goes below the route's.

    Args:
        authenticator: who verifies the tokens.
        optional: whether requests without a token pass, with None for the user.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            _authenticate(authenticator, optional=optional)
            return current_app.ensure_sync(view)(*args, **kwargs)

        return guarded

    return decorate


def _authenticate(authenticator: Authenticator, *, optional: bool | None) -> None:
    try:
        g.session_user = authenticator.authenticate_sync(
            request.headers.items(), method=request.method, optional=optional
        )
    except AuthenticationFailed as failed:
        abort(_refused(failed))


def _refused(failed: AuthenticationFailed) -> Response:
    answer = jsonify(failed.as_dict())
    answer.status_code = failed.status
    answer.headers.update(failed.headers)
    return answer
