"""The layers of both apps are those that `http/wiring.py` and docs/architecture.md list, in the same order."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp

from shopkeeper.http import wiring
from tests.attacks.scene import APP
from tests.http.conftest import Opening

ARCHITECTURE = Path(__file__).parents[2] / "docs" / "architecture.md"
OF_THE_PUBLIC_PORT = {
    *("ImmediateAnswers", "PathsWithoutCors", "VaryOrigin", "CORSMiddleware", "LeftoverCookies", "HotPaths")
}
OF_THE_ADMIN_PORT = {"AdminAuthentication"}


def layers_of(app: ASGIApp) -> Sequence[str]:
    """Return the classes of an app's layers, from the outside to the inside, and those of its router's middleware."""
    found: list[str] = []
    layer: object = app
    while not isinstance(layer, Starlette):
        found.append(type(layer).__name__)
        layer = getattr(layer, "_app", None) or getattr(layer, "app")  # noqa: B009 - `object` has neither
    return [*found, *(middleware.cls.__name__ for middleware in layer.user_middleware)]


def layers_in(text: str) -> Sequence[str]:
    """Return the classes that a text names, in order: words of several parts, such as `HostCheck`."""
    return re.findall(r"`(\w+[A-Z]\w+)`", text)


@pytest.mark.parametrize("place", ["docstring", "architecture"])
async def test_the_layers_are_listed_as_they_are_put_together(opening: Opening, sqlite_dsn: str, place: str) -> None:
    """Regression: four layers were left out of one list, and two of the other."""
    section = ARCHITECTURE.read_text().partition("## How a request passes\n")[2].partition("\n## ")[0]
    listed = layers_in(section if place == "architecture" else wiring.__doc__ or "")
    cors = {"enabled": True, "allowed_origins": [APP]}
    async with opening(sqlite_dsn, serve={"public": {"cors": cors}}) as scene:
        public, admin = layers_of(scene.application.public), layers_of(scene.application.admin)
    assert list(public) == [name for name in listed if name not in OF_THE_ADMIN_PORT]
    assert list(admin) == [name for name in listed if name not in OF_THE_PUBLIC_PORT]
