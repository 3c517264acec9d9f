"""One small application for each adapter, with the real framework: `/profile` answers the user, None without one."""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any, Protocol

import django
import httpx2
import litestar
import strawberry
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, JsonResponse
from django.test import override_settings
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from fastapi import Depends, FastAPI
from flask import Flask, g
from litestar.connection import Request as LitestarRequest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from strawberry.asgi import GraphQL

import shopkeeper_asgi.django
import shopkeeper_asgi.fastapi
import shopkeeper_asgi.flask
import shopkeeper_asgi.litestar
import shopkeeper_asgi.starlette
from shopkeeper_asgi import Authenticator, SessionMiddleware, User
from shopkeeper_asgi.strawberry import IsLoggedIn, LoggedIn, user_of

PATH = "/profile"
SEED = "session_token"


@dataclass(frozen=True)
class Reply:
    """An answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Adapter(Protocol):
    """Asks an application that is built with an authenticator."""

    async def __call__(
        self, authenticator: Authenticator, headers: Mapping[str, str], *, method: str = "GET"
    ) -> Reply: ...


def shown(user: User | None) -> dict[str, Any]:
    return {"user": None if user is None else user.as_dict()}


async def over_asgi(app: Any, headers: Mapping[str, str], method: str, *, url: str = PATH, body: Any = None) -> Reply:
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://api.example") as client:
        answer = await client.request(method, url, headers=headers, json=body)
    return Reply(answer.status_code, answer.headers, answer.content)


async def over_wsgi(app: Any, headers: Mapping[str, str], method: str) -> Reply:
    def ask() -> Reply:
        with httpx2.Client(transport=httpx2.WSGITransport(app), base_url="http://api.example") as client:
            answer = client.request(method, PATH, headers=headers)
        return Reply(answer.status_code, answer.headers, answer.content)

    return await asyncio.to_thread(ask)


async def pure_asgi(authenticator: Authenticator, headers: Mapping[str, str], *, method: str = "GET") -> Reply:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await JSONResponse(shown(scope["user"]))(scope, receive, send)

    return await over_asgi(SessionMiddleware(app, authenticator=authenticator), headers, method)


async def starlette_backend(authenticator: Authenticator, headers: Mapping[str, str], *, method: str = "GET") -> Reply:
    async def profile(request: Request) -> JSONResponse:
        return JSONResponse(shown(request.user if isinstance(request.user, User) else None))

    backend = shopkeeper_asgi.starlette.SessionBackend(authenticator)
    guard = Middleware(AuthenticationMiddleware, backend=backend, on_error=shopkeeper_asgi.starlette.on_error)
    app = Starlette(routes=[Route(PATH, profile, methods=["GET", "POST"])], middleware=[guard])
    return await over_asgi(app, headers, method)


def fastapi_app(authenticator: Authenticator) -> FastAPI:
    app = FastAPI()
    depends = Depends(shopkeeper_asgi.fastapi.session_user(authenticator, optional=authenticator.optional))

    @app.get(PATH)
    @app.post(PATH)
    async def profile(user: Annotated[User | None, depends]) -> dict[str, Any]:
        return shown(user)

    return app


async def fastapi_dependency(authenticator: Authenticator, headers: Mapping[str, str], *, method: str = "GET") -> Reply:
    return await over_asgi(fastapi_app(authenticator), headers, method)


async def litestar_guard(authenticator: Authenticator, headers: Mapping[str, str], *, method: str = "GET") -> Reply:
    @litestar.route(
        PATH,
        http_method=["GET", "POST"],
        guards=[shopkeeper_asgi.litestar.session_guard(authenticator)],
        status_code=200,
    )
    async def profile(request: LitestarRequest[Any, Any, Any]) -> dict[str, Any]:
        return shown(request.user)

    return await over_asgi(litestar.Litestar([profile], logging_config=None), headers, method)


def _configure_django() -> None:
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="of tests", DEBUG=False)
        django.setup()


def _django(authenticator: Authenticator, view: Any, *, middleware: bool) -> Any:
    """Return the settings of a project with this view. They hold as long as the block."""
    place = ModuleType("shop_of_tests")
    place.authenticator = authenticator  # type: ignore[attr-defined]
    sys.modules[place.__name__] = place
    return override_settings(
        ROOT_URLCONF=(path(PATH[1:], view),),
        MIDDLEWARE=["shopkeeper_asgi.django.session_middleware"] if middleware else [],
        SHOPKEEPER_AUTHENTICATOR=f"{place.__name__}.authenticator",
    )


def django_profile(request: HttpRequest) -> JsonResponse:
    return JsonResponse(shown(request.session_user))


async def django_async_profile(request: HttpRequest) -> JsonResponse:
    return JsonResponse(shown(request.session_user))


async def django_middleware(authenticator: Authenticator, headers: Mapping[str, str], *, method: str = "GET") -> Reply:
    _configure_django()
    with _django(authenticator, django_profile, middleware=True):
        return await over_wsgi(WSGIHandler(), headers, method)


async def django_async_middleware(
    authenticator: Authenticator, headers: Mapping[str, str], *, method: str = "GET"
) -> Reply:
    _configure_django()
    with _django(authenticator, django_async_profile, middleware=True):
        return await over_asgi(ASGIHandler(), headers, method)


async def django_decorator(authenticator: Authenticator, headers: Mapping[str, str], *, method: str = "GET") -> Reply:
    _configure_django()
    guard = shopkeeper_asgi.django.session_required(authenticator, optional=authenticator.optional)
    with _django(authenticator, guard(django_profile), middleware=False):
        return await over_wsgi(WSGIHandler(), headers, method)


async def django_async_decorator(
    authenticator: Authenticator, headers: Mapping[str, str], *, method: str = "GET"
) -> Reply:
    _configure_django()
    guard = shopkeeper_asgi.django.session_required(authenticator, optional=authenticator.optional)
    with _django(authenticator, guard(django_async_profile), middleware=False):
        return await over_asgi(ASGIHandler(), headers, method)


async def django_class_decorator(
    authenticator: Authenticator, headers: Mapping[str, str], *, method: str = "GET"
) -> Reply:
    _configure_django()
    with _django(authenticator, _class_based(authenticator, asynchronous=False), middleware=False):
        return await over_wsgi(WSGIHandler(), headers, method)


async def django_async_class_decorator(
    authenticator: Authenticator, headers: Mapping[str, str], *, method: str = "GET"
) -> Reply:
    _configure_django()
    with _django(authenticator, _class_based(authenticator, asynchronous=True), middleware=False):
        return await over_asgi(ASGIHandler(), headers, method)


async def django_async_class_over_wsgi(
    authenticator: Authenticator, headers: Mapping[str, str], *, method: str = "GET"
) -> Reply:
    _configure_django()
    with _django(authenticator, _class_based(authenticator, asynchronous=True), middleware=False):
        return await over_wsgi(WSGIHandler(), headers, method)


def _class_based(authenticator: Authenticator, *, asynchronous: bool) -> Any:
    async def later(self: View, request: HttpRequest) -> JsonResponse:
        return JsonResponse(shown(request.session_user))

    def now(self: View, request: HttpRequest) -> JsonResponse:
        return JsonResponse(shown(request.session_user))

    get = later if asynchronous else now
    guard = shopkeeper_asgi.django.session_required(authenticator, optional=authenticator.optional)
    return method_decorator(guard, name="dispatch")(type("Profile", (View,), {"get": get, "post": get})).as_view()


async def flask_extension(authenticator: Authenticator, headers: Mapping[str, str], *, method: str = "GET") -> Reply:
    app = Flask("shop")
    shopkeeper_asgi.flask.Sessions(authenticator).init_app(app)
    app.add_url_rule(PATH, view_func=lambda: shown(g.session_user), methods=["GET", "POST"], endpoint="profile")
    return await over_wsgi(app, headers, method)


async def flask_decorator(authenticator: Authenticator, headers: Mapping[str, str], *, method: str = "GET") -> Reply:
    app = Flask("shop")

    @app.route(PATH, methods=["GET", "POST"])
    @shopkeeper_asgi.flask.session_required(authenticator, optional=authenticator.optional)
    async def profile() -> dict[str, Any]:
        return shown(g.session_user)

    return await over_wsgi(app, headers, method)


@strawberry.type
class Query:
    @strawberry.field
    def anybody(self, info: strawberry.Info) -> bool:
        return user_of(info) is not None

    @strawberry.field(extensions=[LoggedIn()])
    def me(self, info: strawberry.Info) -> str:
        user = user_of(info)
        assert user is not None
        return user.id

    @strawberry.field(permission_classes=[IsLoggedIn])
    async def mail(self, info: strawberry.Info) -> str | None:
        user = user_of(info)
        assert user is not None
        return user.email


SCHEMA = strawberry.Schema(Query)


async def graphql(authenticator: Authenticator, query: str, headers: Mapping[str, str]) -> Any:
    """Ask Strawberry behind the middleware."""
    app = SessionMiddleware(GraphQL(SCHEMA), authenticator=authenticator)
    return (await over_asgi(app, headers, "POST", url="/", body={"query": query})).json()


ADAPTERS: Mapping[str, Adapter] = {
    "ASGI": pure_asgi,
    "Starlette": starlette_backend,
    "FastAPI": fastapi_dependency,
    "Litestar": litestar_guard,
    "Django middleware": django_middleware,
    "Django middleware, asynchronous": django_async_middleware,
    "Django decorator": django_decorator,
    "Django decorator, asynchronous": django_async_decorator,
    "Django decorator of a class": django_class_decorator,
    "Django decorator of a class, asynchronous": django_async_class_decorator,
    "Django decorator of a class, asynchronous over WSGI": django_async_class_over_wsgi,
    "Flask extension": flask_extension,
    "Flask decorator": flask_decorator,
}
