"""Which session server is asked about a token or a cookie: one that the store of the request takes."""

from collections.abc import Mapping

from shopkeeper.client import Client
from shopkeeper.errors import TokenInvalid
from shopkeeper.sessions.principal import ServerCookie
from shopkeeper.sessions.token_sources import External
from shopkeeper.upstream.kratos import KratosSessions, SessionCookie


class KratosSessionsByStore:
    """Satisfies `ServerSessions` of `sessions/principal.py`.

    Args:
        servers: the sessions of each server by the id of its provider, in the order of the settings. Of several that a
            store takes, the first that has tokens of the form is asked.
    """

    def __init__(self, servers: Mapping[str, KratosSessions]) -> None:
        self._servers = servers

    def takes(self, token: str, store: str) -> bool:
        """Whether a session server of the store has tokens of this form. No I/O."""
        return self._of(token, store) is not None

    async def verify(self, token: str, store: str, *, client: Client) -> External:
        """Return the subject of a session. Raises as `KratosSessions.verify` does."""
        server = self._of(token, store)
        if server is None:
            raise TokenInvalid
        return await server.verify(token, store, client=client)

    async def verify_cookie(self, cookie: ServerCookie, *, client: Client) -> External:
        """Return the subject of a session cookie. Raises as `KratosSessions.verify_cookie` does."""
        asked = SessionCookie(cookie.name, cookie.value)
        return await self._servers[cookie.server].verify_cookie(asked, client=client)

    async def end(self, token: str, store: str) -> None:
        """Sign out the session of a token at its server, if there is one. Raises `SessionServerUnavailable`."""
        server = self._of(token, store)
        if server is not None:
            await server.end(token)

    async def end_cookie(self, cookie: ServerCookie) -> None:
        """Sign out the session of a cookie at its server. Raises `SessionServerUnavailable`."""
        await self._servers[cookie.server].end_cookie(SessionCookie(cookie.name, cookie.value))

    def _of(self, token: str, store: str) -> KratosSessions | None:
        found = (server for server in self._servers.values() if store in server.server.stores)
        return next((server for server in found if server.recognises(token)), None)
