"""Static files of the pages: styles, scripts, pictures. All are in memory, found by their exact name.

Addresses of styles and scripts contain a digest of all of them, so that browsers may cache them for good, and modules
find each other by relative addresses. An address with another digest is of another version: it is served, not cached.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.commerce.embedded.demo import read_catalogue, read_mark, read_pictures
from shopkeeper.errors import NotFound

FOR_GOOD = "public, max-age=31536000, immutable"
ASK_AGAIN = "public, no-cache"
# A picture opened on its own is a document: it may run no scripts and load nothing.
ALONE = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
TYPES: Mapping[str, str] = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class DemoAssets:
    """The demo shop's texts, its logo and its pictures by product id."""

    tagline: str
    welcome: str
    mark: bytes = field(repr=False)
    pictures: Mapping[str, bytes] = field(repr=False)


def read_demo() -> DemoAssets:
    """Read the assets of the demo shop that is part of the package."""
    shop = read_catalogue().shop
    return DemoAssets(shop.tagline, shop.welcome, read_mark(), read_pictures())


class Assets:
    """Serves styles and scripts, and the pictures of a demo shop if there is one."""

    def __init__(self, *, demo: DemoAssets | None = None) -> None:
        self._static = dict(_read(files("shopkeeper") / "web" / "static"))
        self._mark = demo.mark if demo else None
        self._pictures = {f"{name}.svg": picture for name, picture in demo.pictures.items()} if demo else {}
        self.version = _digest(*(body for _, body in sorted(self._static.items())))
        self.pictures_version = _digest(*(body for _, body in sorted(self._pictures.items())))

    def routes(self) -> list[Route]:
        """List the routes."""
        static = [
            Route("/static/{version}/{name}", self._serve_static, methods=["GET"]),
            Route("/static/{version}/{folder}/{name}", self._serve_static, methods=["GET"]),
        ]
        mark = Route("/shop/mark.svg", self._serve_mark, methods=["GET"])
        pictures = Route("/shop/pictures/{name}", self._serve_picture, methods=["GET"])
        return [*static, mark, pictures] if self._mark is not None else static

    async def _serve_static(self, request: Request) -> Response:
        place = request.path_params
        name = "/".join(place[part] for part in ("folder", "name") if part in place)
        return _file(request, name, self._static.get(name), keep=place["version"] == self.version)

    async def _serve_mark(self, request: Request) -> Response:
        return _file(request, "mark.svg", self._mark, keep=False)

    async def _serve_picture(self, request: Request) -> Response:
        name, keep = request.path_params["name"], request.query_params.get("v") == self.pictures_version
        return _file(request, name, self._pictures.get(name), keep=keep)


def _file(request: Request, name: str, body: bytes | None, *, keep: bool) -> Response:
    if body is None:
        raise NotFound
    tag = f'"{_digest(body)}"'
    headers = {"ETag": tag, "Cache-Control": FOR_GOOD if keep else ASK_AGAIN}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    kind = name.rpartition(".")[2]
    if kind == "svg":
        headers["Content-Security-Policy"] = ALONE
    return Response(body, headers=headers, media_type=TYPES[kind])


def _read(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _read(entry, f"{prefix}{entry.name}/")
        elif entry.name.rpartition(".")[2] in TYPES:
            yield f"{prefix}{entry.name}", entry.read_bytes()


def _digest(*bodies: bytes) -> str:
    whole = hashlib.sha256()
    for body in bodies:
        whole.update(len(body).to_bytes(8, "big") + body)
    return whole.hexdigest()[:16]
