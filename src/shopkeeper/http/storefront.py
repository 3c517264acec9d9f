"""The storefront API: `/signin` and `/signout`, in the shapes of the published GraphQL Commerce client.

Success is `{"authorization": …}` with further members; a refusal is `{"errors": [{message, extensions: {code}}]}`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.clock import Clock
from shopkeeper.commerce.port import Profile
from shopkeeper.crypto import new_csrf_token
from shopkeeper.errors import MalformedBody, Refusal
from shopkeeper.http.authentication import RequestAuthenticator
from shopkeeper.http.cookies import CookiePolicy
from shopkeeper.http.requests import JSON, parse_object, read_body
from shopkeeper.http.responses import encode, json_response
from shopkeeper.http.serializers import cart_merge_shape, moment
from shopkeeper.http.storefront_input import hint_of, require_sign_in_fields, text_of, token_of
from shopkeeper.languages.refusals import headers_of, told
from shopkeeper.parsing import media_type_of
from shopkeeper.sessions.values import Principal, PrincipalKind, Session
from shopkeeper.signin.cart_merge import profile_of
from shopkeeper.signin.visit import Access, Visit
from shopkeeper.storage.database import Database

MAX_BODY = 100_000

Endpoint = Callable[[Request], Awaitable[Response]]


class Storefront:
    """The routes for signing in and out from a storefront.

    Args:
        sign_out: authenticates requests that sign out, also while a session server is away.
    """

    def __init__(
        self,
        *,
        database: Database,
        visit: Visit,
        authenticator: RequestAuthenticator,
        sign_out: RequestAuthenticator,
        cookies: CookiePolicy,
        clock: Clock,
    ) -> None:
        self._database = database
        self._visit = visit
        self._authenticator = authenticator
        self._leaving = sign_out
        self._cookies = cookies
        self._clock = clock

    def routes(self) -> list[Route]:
        """List the routes."""
        return [
            Route("/signin", self._in_client_shape(self._sign_in), methods=["POST"]),
            Route("/signout", self._in_client_shape(self._sign_out), methods=["POST"]),
        ]

    def _in_client_shape(self, endpoint: Endpoint) -> Endpoint:
        """Wrap an endpoint to render refusals as the published client reads them."""

        async def answered(request: Request) -> Response:
            try:
                return await endpoint(request)
            except Refusal as refusal:
                return client_refusal(refusal, language=self._authenticator.language_of(request))

        return answered

    async def _sign_in(self, request: Request) -> Response:
        fields = await _fields(request)
        require_sign_in_fields(fields)
        token = token_of(fields)
        if token is not None:
            return self._answer(request, await self._with_token(request, fields, token), principal_changes=True)
        if fields.get("username") is not None:
            return self._answer(request, await self._with_credentials(request, fields), principal_changes=True)
        if fields.get("type") == "refresh":
            return self._answer(request, await self._refresh(request))
        return self._answer(request, await self._anonymous(request))

    async def _refresh(self, request: Request) -> Access:
        return await self._visit.refresh(
            store=self._authenticator.store_of(request),
            token=await self._authenticator.token_to_refresh(request),
            client=self._authenticator.client_of(request),
        )

    async def _anonymous(self, request: Request) -> Access:
        """Start a visit, for the same guest if the request carries a guest's token."""
        visitor = await self._authenticator.principal_signing_in(request)
        guest = visitor.subject if visitor.kind is PrincipalKind.ANONYMOUS else None
        return self._visit.anonymous(self._authenticator.store_of(request), guest=guest)

    async def _with_credentials(self, request: Request, fields: Mapping[str, Any]) -> Access:
        username, password = text_of(fields, "username"), text_of(fields, "password")
        visitor = await self._authenticator.principal_signing_in(request)
        former = await self._authenticator.session_to_end(request, visitor)
        return await self._visit.sign_in(
            store=self._authenticator.store_of(request),
            username=username,
            password=password,
            hint=hint_of(fields),
            visitor=visitor,
            former=former,
            client=visitor.client,
            language=self._authenticator.language_of(request),
            wished_language=self._authenticator.wished_language_of(request),
        )

    async def _with_token(self, request: Request, fields: Mapping[str, Any], token: str) -> Access:
        visitor = await self._authenticator.principal_signing_in(request)
        former = await self._authenticator.session_to_end(request, visitor)
        return await self._visit.sign_in_by_token(
            store=self._authenticator.store_of(request),
            token=token,
            hint=hint_of(fields),
            visitor=visitor,
            former=former,
            client=visitor.client,
            language=self._authenticator.language_of(request),
            wished_language=self._authenticator.wished_language_of(request),
        )

    async def _sign_out(self, request: Request) -> Response:
        await _fields(request)  # none has a meaning, and an unknown one must not leave anybody signed in
        store, visitor = self._leaving.store_of(request), await self._leaving.principal_signing_in(request)
        sessions = await self._sessions_to_end(request, visitor)
        elsewhere = await self._leaving.token_to_refresh(request) if _shows_token_of_another(visitor) else None
        server_cookie = self._leaving.server_cookie_to_end(request)
        await self._visit.sign_out_elsewhere(store=store, sessions=sessions, token=elsewhere, cookie=server_cookie)
        async with self._database.unit() as unit:
            access = await self._visit.sign_out(
                unit, store=store, sessions=sessions, client=visitor.client, visitor=visitor
            )
        answer = self._answer(request, access, principal_changes=True)
        if self._authenticator.may_have_cookies(request) or self._authenticator.is_trusted_page(request):
            for cookie in self._cookies.rest_from_silent_sign_on():
                answer.headers.append("Set-Cookie", cookie)
        return answer

    async def _sessions_to_end(self, request: Request, visitor: Principal) -> Sequence[Session]:
        former = await self._leaving.session_to_end(request, visitor)
        if former is None:
            return ()
        doubles = await self._leaving.doubles_of(request) if self._leaving.may_have_cookies(request) else ()
        return [former, *(double for double in doubles if double.identity.id == former.identity.id)]

    def _answer(self, request: Request, access: Access, *, principal_changes: bool = False) -> Response:
        """Return the tokens as JSON, and as cookies, which scripts cannot read, for pages that may have cookies."""
        answer = json_response(_access_shape(access), headers={"Cache-Control": "no-store"})
        if self._authenticator.may_have_cookies(request):
            store = self._authenticator.store_of(request).id
            for cookie in self._new_cookies(access, store=store, principal_changes=principal_changes):
                answer.headers.append("Set-Cookie", cookie)
        return answer

    def _new_cookies(self, access: Access, *, store: str, principal_changes: bool) -> list[str]:
        """Rotate the CSRF token when the principal changes, so that forms from before are refused.

        Refreshing a token does not change the principal: the forms in the visitor's other tabs stay valid.
        """
        new_csrf = [self._cookies.set_csrf(new_csrf_token())] if principal_changes else []
        now = self._clock.now()
        if access.session is not None:
            session = self._cookies.set_session(
                access.token, expires_at=access.expires_at, now=now, kept=access.session.kept
            )
            return [session, *self._cookies.delete_visit(store=store), *new_csrf]
        visit = self._cookies.set_visit(access.token, store=store, expires_at=access.expires_at, now=now)
        return [*self._cookies.delete_session(), visit, *new_csrf] if principal_changes else [visit]


def _shows_token_of_another(visitor: Principal) -> bool:
    """Return whether a visitor has shown, in a header, a token that another issuer vouches for."""
    return visitor.vouched is not None and not visitor.by_cookie


def client_refusal(refusal: Refusal, *, language: str) -> Response:
    """Return `{"errors": [{"message", "extensions": {"code"}}]}` with the refusal's status, in a language."""
    code = refusal.graphql_code or refusal.code.upper()
    error = {"message": told(refusal, language), "extensions": {"code": code, **refusal.details}}
    headers = {"Cache-Control": "no-store", **refusal.headers, **headers_of(language)}
    return Response(encode({"errors": [error]}), refusal.status, headers, "application/json; charset=utf-8")


async def _fields(request: Request) -> dict[str, Any]:
    """Return the body's fields.

    Only JSON is accepted, because another site's page cannot send it without a CORS preflight.
    """
    if media_type_of(request.headers.get("content-type")) != JSON:
        raise MalformedBody(message=f"Send the body as {JSON}; an empty object {{}} will do.")
    return parse_object(await read_body(request, limit=MAX_BODY))


def _access_shape(access: Access) -> dict[str, Any]:
    return {
        "authorization": access.token,
        "expiresAt": moment(access.expires_at),
        "customer": _customer(profile_of(access.session.identity)) if access.session else None,
        **({"cart": cart_merge_shape(access.cart_merge)} if access.cart_merge else {}),
    }


def _customer(profile: Profile) -> dict[str, str | None]:
    return {
        "id": profile.identity_id,
        "email": profile.email,
        "firstName": profile.first_name,
        "lastName": profile.last_name,
    }
