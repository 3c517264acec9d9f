"""A provider of kind `kratos`: an Ory Kratos, a project of the Ory Network or another Shopkeeper keeps the sessions.

What it says about a session's token or cookie is asked at `/sessions/whoami`, and cached for a short time.
"""

import asyncio
import re
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import msgspec

from shopkeeper.client import Client
from shopkeeper.clock import Clock
from shopkeeper.crypto import digest
from shopkeeper.errors import SecondFactorRequired, TokenInvalid
from shopkeeper.http_client import HttpResponse
from shopkeeper.openid.calls import ProviderCalls, parse_object
from shopkeeper.openid.errors import ProviderAnswerInvalid, ProviderError, ProviderUnavailable
from shopkeeper.sessions.errors import SessionEnded
from shopkeeper.sessions.token_sources import External
from shopkeeper.upstream.errors import SessionServerUnavailable
from shopkeeper.upstream.kratos_session import ServerSession, read_session
from shopkeeper.upstream.refused_tokens import RefusedTokens
from shopkeeper.upstream.session_answers import Lifetime, SessionAnswer, SessionAnswers
from shopkeeper.upstream.token_questions import TokenQuestions

MAX_SESSION: Final = 64 * 1024
"""Bytes of the answer about a session."""
LONGEST_TOKEN: Final = 512
LONGEST_COOKIE: Final = 4_096
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]+", re.ASCII)
_COOKIE_VALUE: Final = re.compile(r"[A-Za-z0-9!#$%&'()*+\-./:<=>?@\[\]^_`{|}~]+", re.ASCII)
_LOGOUT: Final = "/self-service/logout"
_SECOND_FACTOR: Final = "session_aal2_required"


@dataclass(frozen=True, slots=True)
class SessionServer:
    """What the settings say of a session server.

    Args:
        public_url: its public address, without a slash at the end; the issuer of its identities.
        cookie: the name of its session cookie; a star at the end stands for any further characters.
        cache_for: the longest time that its answers are cached.
        deadline: the longest time that an answer is waited for.
        stores: the ids of the fronts that take its sessions.
        second_factor_url: where a browser gives a second factor.
    """

    id: str
    public_url: str
    cookie: str = "ory_kratos_session"
    token_prefix: str = "ory_st_"  # noqa: S105 - what tokens begin with
    required_aal: str = "aal1"
    cache_for: timedelta = timedelta(seconds=10)
    deadline: timedelta = timedelta(seconds=3)
    groups_from: tuple[str, ...] = ()
    stores: frozenset[str] = frozenset()
    second_factor_url: str = ""

    def names(self, cookie: str) -> bool:
        """Whether a cookie of this name is the session cookie."""
        if self.cookie.endswith("*"):
            return cookie.startswith(self.cookie[:-1])
        return cookie == self.cookie


class SessionCookie(NamedTuple):
    """A session cookie of a session server."""

    name: str
    value: str

    @property
    def line(self) -> str:
        """The value of the header that carries it."""
        return f"{self.name}={self.value}"


class KratosSessions:
    """The sessions of one session server; a `TokenSource` for its tokens.

    Args:
        questions: limits how often clients have the server asked in vain.
    """

    def __init__(
        self,
        server: SessionServer,
        *,
        calls: ProviderCalls,
        answers: SessionAnswers,
        questions: TokenQuestions,
        clock: Clock,
    ) -> None:
        self.server = server
        self._calls, self._answers, self._questions, self._clock = calls, answers, questions, clock
        self._refused = RefusedTokens(clock=clock, ceiling=server.cache_for)
        self._whoami = f"{server.public_url}/sessions/whoami"

    def recognises(self, token: str) -> bool:
        """Whether a token has the form of this server's tokens. Tokens of several servers may have one form: the store
        of a request says which is meant."""
        return (
            token.startswith(self.server.token_prefix)
            and len(token) <= LONGEST_TOKEN
            and _TOKEN.fullmatch(token) is not None
        )

    async def verify(self, token: str, store: str | None, *, client: Client | None = None) -> External:
        """Return the subject of a session token, in a store, or in any where `store` is None.

        Raises:
            TooManyRequests: the client has had the server asked in vain too often.
            SessionEnded: the server does not know the session, or it has ended. A `TokenInvalid`.
            SecondFactorRequired: the session needs a second factor.
            SessionServerUnavailable: there is no usable answer.
        """
        if store is not None and store not in self.server.stores:
            raise TokenInvalid
        return (await self.answer(token, client=client)).external

    async def verify_cookie(self, cookie: SessionCookie, *, client: Client | None = None) -> External:
        """Return the subject of a session cookie. Raises as `verify` does."""
        return (await self.answer(cookie, client=client)).external

    async def answer(self, credential: str | SessionCookie, *, client: Client | None = None) -> SessionAnswer:
        """Return what the server says of the session of a token or a cookie, in any store. Raises as `verify` does."""
        if not self._may_be_one(credential):
            raise TokenInvalid

        async def ask() -> SessionAnswer:
            async with self._questions.of(client):
                return await self._asked(credential, client)

        key = _key(self.server, credential)
        if self._refused.has(key):
            raise SessionEnded
        try:
            answer = await self._answers.get(key, ask)
        except SessionEnded:
            self._refused.add(key)
            raise
        if answer.external.expires_at <= self._clock.now():
            raise SessionEnded
        return answer

    def cached(self, credential: str | SessionCookie) -> SessionAnswer | None:
        """Return what is cached of the session of a token or a cookie; None where the server must be asked."""
        return self._answers.cached(_key(self.server, credential))

    async def forget(
        self, *, token: str | None = None, cookie: SessionCookie | None = None, external: External | None = None
    ) -> None:
        """Drop what is cached of a session, or of all of a person's: here at once, then in all processes."""
        keys = [_key(self.server, credential) for credential in (token, cookie) if credential]
        await self._answers.forget(keys, [external] if external is not None else [])

    async def end(self, token: str) -> None:
        """Sign the session of a token out at the server, and forget it everywhere, also where the server fails.

        Raises `SessionServerUnavailable`.
        """
        content = msgspec.json.encode({"session_token": token})
        try:
            await self._calls.send(
                "DELETE",
                f"{self.server.public_url}{_LOGOUT}/api",
                headers={"Content-Type": "application/json"},
                content=content,
            )
        except ProviderError as failed:
            raise SessionServerUnavailable.because(failed) from failed
        finally:
            await self.forget(token=token)

    async def end_cookie(self, cookie: SessionCookie) -> None:
        """Sign the session of a cookie out at the server, as a browser does, and forget it everywhere, also where the
        server fails. Raises `SessionServerUnavailable`."""
        if not self._is_cookie(cookie):
            return
        try:
            await self._sign_out_as_browser(cookie.line)
        except ProviderError as failed:
            raise SessionServerUnavailable.because(failed) from failed
        finally:
            await self.forget(cookie=cookie)

    async def _sign_out_as_browser(self, cookie: str) -> None:
        """Ask for the token that makes a sign-out deliberate, and send it. A session that has ended has none."""
        headers, logout = {"Cookie": cookie, "Accept": "application/json"}, f"{self.server.public_url}{_LOGOUT}"
        flow = await self._calls.send("GET", f"{logout}/browser", headers=headers)
        if flow.status == HTTPStatus.UNAUTHORIZED:
            return
        token = parse_object(flow.body, what="The sign-out").get("logout_token")
        if not isinstance(token, str):
            raise ProviderAnswerInvalid("The sign-out has no logout_token.", cause="no_logout_token")
        done = await self._calls.send("GET", f"{logout}?{urlencode({'token': token})}", headers=headers)
        if done.status >= HTTPStatus.BAD_REQUEST:
            raise ProviderUnavailable(f"The session server answered with {done.status}.", cause="status")

    def _may_be_one(self, credential: str | SessionCookie) -> bool:
        return self.recognises(credential) if isinstance(credential, str) else self._is_cookie(credential)

    def _is_cookie(self, cookie: SessionCookie) -> bool:
        return (
            self.server.names(cookie.name)
            and len(cookie.value) <= LONGEST_COOKIE
            and _COOKIE_VALUE.fullmatch(cookie.value) is not None
        )

    async def _asked(self, credential: str | SessionCookie, client: Client | None) -> SessionAnswer:
        asked_at = self._clock.now()
        headers = {"X-Session-Token": credential} if isinstance(credential, str) else {"Cookie": credential.line}
        if client is not None:
            headers["X-Forwarded-For"] = client.ip
        try:
            async with asyncio.timeout(self.server.deadline.total_seconds()):
                response = await self._calls.send("GET", self._whoami, headers=headers, max_bytes=MAX_SESSION)
            session = self._session(response)
        except TimeoutError as late:
            raise SessionServerUnavailable(cause="no_answer", retry_after=1) from late
        except ProviderError as failed:
            raise SessionServerUnavailable.because(failed) from failed
        if not session.usable:
            raise SessionEnded
        if not session.reaches(self.server.required_aal):
            raise self._second_factor()
        external = session.external(
            provider=self.server.id, issuer=self.server.public_url, groups_from=self.server.groups_from
        )
        lifetime = Lifetime(self.server.cache_for, allowed=_allowed(response))
        return SessionAnswer(external, response.body, lifetime.until(asked_at, session.expires_at))

    def _session(self, response: HttpResponse) -> ServerSession:
        if response.status == HTTPStatus.UNAUTHORIZED:
            raise SessionEnded
        if response.status == HTTPStatus.FORBIDDEN and _error_id(response.body) == _SECOND_FACTOR:
            raise self._second_factor()
        if response.status != HTTPStatus.OK:
            raise ProviderUnavailable(f"The session server answered with {response.status}.", cause="status")
        return read_session(response.body)

    def _second_factor(self) -> SecondFactorRequired:
        return SecondFactorRequired(redirect_browser_to=self.server.second_factor_url)


def _key(server: SessionServer, credential: str | SessionCookie) -> bytes:
    place, value = ("token", credential) if isinstance(credential, str) else ("cookie", credential.line)
    return digest(f"{server.id}\0{server.public_url}\0{place}\0{value}")


def _allowed(response: HttpResponse) -> timedelta | None:
    """Return what `Ory-Session-Cache-For` says; nothing is cached where it cannot be read."""
    value = response.headers.get("ory-session-cache-for")
    if value is None:
        return None
    readable = value.isascii() and value.isdecimal() and len(value) <= 9
    return timedelta(seconds=int(value)) if readable else timedelta(0)


def _error_id(body: bytes) -> Any:
    try:
        error = parse_object(body, what="The refusal").get("error")
    except ProviderAnswerInvalid:
        return None
    return error.get("id") if isinstance(error, dict) else None
