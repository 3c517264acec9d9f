"""Two servers: one that proves identities, on a port, and a shop in front of it, whose store names it as provider."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import ADDRESS, APP, Scene, opened
from tests.conftest import Run
from tests.services.asgi import listening
from tests.services.databases import new_sqlite
from tests.services.server import free_port

IDP = "idp"


@dataclass(frozen=True)
class InFront:
    """The shop, and the server behind it."""

    shop: Scene
    remote: Scene
    url: str
    """The address of the server behind."""
    faults: "Faults"


class Faults:
    """The server behind, which a test can let fail: it is `away`, `slow` or `unavailable`, or answers `nonsense`."""

    def __init__(self, app: ASGIApp) -> None:
        self.how = ""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.how:
            await self.app(scope, receive, send)
            return
        if self.how == "slow":
            await asyncio.sleep(3)
        if self.how == "away":
            raise ConnectionError("away")
        status = 503 if self.how == "unavailable" else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"<html>"})


@asynccontextmanager
async def in_front(
    run: Run,
    folder: Path,
    clock: StoppedClock,
    *,
    provider: Mapping[str, Any] | None = None,
    remote: Mapping[str, Any] | None = None,
    **shop: Any,
) -> AsyncIterator[InFront]:
    """Open both. `provider` is what the shop's settings say of the server, `remote` what those of the server say."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    places = [folder / "remote", folder / "shop"]
    for place in places:
        place.mkdir()
    behind = {
        "serve": {"public": {"base_url": f"{url}/"}},
        "selfservice": {"allowed_return_urls": [APP, f"{ADDRESS}/"]},
        **(remote or {}),
    }
    settings = {
        "providers": [
            {
                "kind": "kratos",
                "id": IDP,
                "public_url": f"{url}/",
                "self_service": "proxy",
                "token_prefix": "shk_st_",
                **(provider or {}),
            }
        ],
        "stores": [{"id": "default", "provider": IDP}, {"id": "kettle"}],
        "clients": {"http": {"private_ip_exception_urls": [f"{url}/**"]}},
        **shop,
    }
    async with (
        opened(new_sqlite(run.folder, places[0]), places[0], clock, settings=behind) as server,
        listening(faults := Faults(server.application.public), port),
        opened(new_sqlite(run.folder, places[1]), places[1], clock, settings=settings) as front,
    ):
        yield InFront(front, server, url, faults)
