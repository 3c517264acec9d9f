"""`/sessions/whoami` (contract page sections 1.1 and 3).

The response is rendered once for each cached session, and is cached with it as bytes; a refusal is rendered in the
session's language. Most requests are answered immediately (`WhoamiAtOnce`); the others by a plain ASGI callable before
the router (`WhoAmI`).
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from starlette.datastructures import QueryParams
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from shopkeeper.clock import Clock
from shopkeeper.commerce.stores import STORE, TENANT, Stores
from shopkeeper.errors import ERROR_HEADER, SecondFactorRequired, StoreUnknown, Unauthenticated
from shopkeeper.flows.required_assurance import second_factor_url
from shopkeeper.http.authentication import RequestAuthenticator
from shopkeeper.http.request_log import note
from shopkeeper.http.responses import encode, error_response, in_each_language, refusal_body
from shopkeeper.http.serializers import Serializers
from shopkeeper.languages.choice import SOURCE, offered
from shopkeeper.languages.refusals import headers_of
from shopkeeper.sessions.assurance import AssurancePolicy, RequiredAal
from shopkeeper.sessions.cache import CachedSession
from shopkeeper.sessions.tokenizer import SessionTokenizer
from shopkeeper.sessions.values import Session, WhoamiAnswer

OK: Final = 200
TOKENIZE_AS: Final = "tokenize_as"
Headers = tuple[tuple[bytes, bytes], ...]


class WhoamiRenderer:
    """Renders the response for a session: 200 with the session, or 403 if it lacks a second factor.

    Args:
        assurance: what counts as a second factor.
        required: the level that whoami requires (`session.whoami.required_aal`).
        stores: the store in the address for the second factor: a session counts in its own store only.
    """

    def __init__(
        self,
        assurance: AssurancePolicy,
        *,
        serializers: Serializers,
        required: RequiredAal,
        stores: Stores,
        clock: Clock,
    ) -> None:
        self._serializers = serializers
        self._assurance = assurance
        self._required = required
        self._stores = stores
        self._clock = clock

    def __call__(self, session: Session) -> WhoamiAnswer:
        if self._assurance.satisfied_by(session, required=self._required):
            body = encode(self._serializers.session(session))
            return _answer(session, OK, body, _headers_of(session))
        refusal = SecondFactorRequired(redirect_browser_to=self._second_factor_url(session))
        language = self._language_of(session)
        body = refusal_body(refusal, clock=self._clock, language=language)
        answer = _answer(session, refusal.status, body, (*_REFUSED, *_encoded(headers_of(language))))
        return answer._replace(error=refusal.code, language=language, refusal=refusal)

    def _language_of(self, session: Session) -> str:
        """Return the language of a session: its person's, else that of its store."""
        if session.known_locale is not None:
            return session.known_locale
        store = self._stores.find(session.store) if session.store else self._stores.default
        return offered(store.locale) if store is not None else SOURCE

    def _second_factor_url(self, session: Session) -> str:
        name, tenant = self._stores.names_of(session.store) if session.store else ("", "")
        named = {key: value for key, value in {STORE: name, TENANT: tenant}.items() if value}
        return second_factor_url(self._serializers.base_url, store=named)


class SessionServerWhoami(Protocol):
    """Answers for the stores of session servers."""

    def cached_whoami(self, scope: Scope) -> Response | None:
        """Return the answer where it is cached, and the request has no session of ours."""
        ...

    async def whoami(self, scope: Scope) -> Response | None:
        """Return the answer; None for other stores, and where there is no valid session. May raise a `Refusal`."""
        ...


class WhoAmI:
    """`/sessions/whoami`, for every HTTP method, so that gateways can forward the method of the original request.

    If a request names a store, by header, address or host, a session of another store does not count. If it names none,
    the header `X-Shopkeeper-Store` names the session's store.

    `session_server` answers for a store of a session server; None where there is none, or its paths are not passed on.
    """

    def __init__(
        self,
        *,
        authenticator: RequestAuthenticator,
        tokenizer: SessionTokenizer,
        clock: Clock,
        session_server: SessionServerWhoami | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._tokenizer = tokenizer
        self._clock = clock
        self._session_server = session_server
        refusal = Unauthenticated("There is no valid session with this request.")
        self._refusals = in_each_language(refusal, clock=clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        server = self._session_server
        known = server.cached_whoami(scope) if server is not None else None
        if known is not None:
            await known(scope, receive, send)
            return
        try:
            cached = await self._authenticator.session_in(scope)
        except StoreUnknown:
            cached = None
        if cached is None:
            answered = await server.whoami(scope) if server is not None else None
            if answered is None:
                answered = self._refusals[self._authenticator.language_of(HTTPConnection(scope))]
            await answered(scope, receive, send)
            return
        answer = cached.whoami
        note(principal=answer.principal)
        if answer.refusal is not None:
            wished = self._authenticator.wished_language_of(HTTPConnection(scope))
            if wished not in {None, answer.language}:
                await error_response(answer.refusal, clock=self._clock, language=wished)(scope, receive, send)
                return
        elif b"tokenize_as=" in scope["query_string"]:
            answer = await self._tokenized(answer, cached.session, scope)
        await send({"type": "http.response.start", "status": answer.status, "headers": [*answer.headers]})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    async def _tokenized(self, answer: WhoamiAnswer, session: Session, scope: Scope) -> WhoamiAnswer:
        template = QueryParams(scope["query_string"]).get(TOKENIZE_AS)
        if not template:
            return answer
        return answer.with_token(await self._tokenizer.tokenize(session, template, shown=answer.body))


class WhoamiAtOnce:
    """Whoami as an immediate route: it answers where the session of the token is in the cache.

    Args:
        cached: returns the valid session of a token if it is in the cache.
        stores: a session of another store than the host's does not count.
    """

    def __init__(self, *, cached: Callable[[str], CachedSession | None], stores: Stores) -> None:
        self._cached = cached
        self._stores = stores

    def __call__(self, token: str, *, host: str) -> WhoamiAnswer | None:
        found = self._cached(token)
        if found is None:
            return None
        store = self._stores.named(name=None, tenant=None, host=host)
        return found.whoami if store is None or found.session.at_home_in(store.id) else None


def _answer(session: Session, status: int, body: bytes, headers: Headers) -> WhoamiAnswer:
    length = (b"content-length", b"%d" % len(body))
    return WhoamiAnswer(status, (length, *headers), body, principal=str(session.identity.id))


def _encoded(headers: Mapping[str, str]) -> Headers:
    return tuple((name.lower().encode(), value.encode()) for name, value in headers.items())


_REFUSED = (
    (b"content-type", b"application/json"),
    (ERROR_HEADER.lower().encode(), SecondFactorRequired.code.encode()),
)


def _headers_of(session: Session) -> Headers:
    usual = (
        (b"content-type", b"application/json; charset=utf-8"),
        (b"x-kratos-authenticated-identity-id", str(session.identity.id).encode()),
    )
    return usual if session.store is None else (*usual, (b"x-shopkeeper-store", session.store.encode()))
