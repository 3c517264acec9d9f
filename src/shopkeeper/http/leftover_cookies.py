"""Deletes cookies that a browser still has of an earlier domain, path or name, and that no longer count."""

from collections.abc import MutableMapping
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shopkeeper.http.cookies import CookiePolicy, names_in

_CONFLICT: Final = "shopkeeper.conflicting_sessions"


def delete_session_cookies(scope: MutableMapping[str, Any]) -> None:
    """Have the response delete the session cookies that the browser has of us, in every place."""
    conflict = scope.get(_CONFLICT)
    if conflict is not None:
        conflict.append(True)


class LeftoverCookies:
    """Deletes the leftovers of each of our cookies that a response sets or deletes.

    Other responses leave all cookies alone: reading changes none. The one exception are session cookies whose sessions
    belong to different identities (`delete_session_cookies`).
    """

    def __init__(self, app: ASGIApp, *, policy: CookiePolicy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not any(name == b"cookie" for name, _ in scope["headers"]):
            await self._app(scope, receive, send)
            return
        conflict: list[bool] = []
        scope[_CONFLICT] = conflict  # middleware below may copy the scope, but not what is in it

        async def cleaning(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*self._lines(scope, message, conflict=bool(conflict)), *message["headers"]]
            await send(message)

        await self._app(scope, receive, cleaning)

    def _lines(self, scope: Scope, message: Message, *, conflict: bool) -> list[tuple[bytes, bytes]]:
        """Return the headers that delete leftovers. They come before the response's own, so that these win."""
        given = [value.decode("latin-1") for name, value in message["headers"] if name.lower() == b"set-cookie"]
        written = dict.fromkeys(
            name for name in (line.partition("=")[0] for line in given) if self._policy.is_ours(name)
        )
        if not written and not conflict:
            return []
        came = names_in(value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie")
        lines = [line for name in written for line in self._policy.delete_leftovers(name, came)]
        if conflict and self._policy.session_name not in written:
            lines += self._policy.delete_session_everywhere()
        return [(b"set-cookie", line.encode("latin-1")) for line in lines if line not in given]
