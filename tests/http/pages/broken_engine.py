"""A connector to a remote engine that never answers as it should."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import pytest
from structlog.testing import capture_logs

from shopkeeper.app import Application
from shopkeeper.commerce.port import Grant, Shopper
from shopkeeper.errors import UpstreamFailed
from shopkeeper.http.pages import engine_reads
from shopkeeper.storage.database import Unit


async def refuse() -> NoReturn:
    raise UpstreamFailed


async def fail() -> NoReturn:
    raise KeyError("a fault of the connector")


async def hang() -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError


Breaking = Callable[[], Awaitable[NoReturn]]
BREAKING = pytest.mark.parametrize(
    ("breaking", "level"), [(refuse, "warning"), (fail, "error"), (hang, "warning")], ids=["refuses", "fails", "hangs"]
)


class BrokenEngine:
    """Satisfies `Engine` as far as pages need it: every method of a part behaves as `breaking` does."""

    name = "broken"
    shares_transaction = False

    def __init__(self, breaking: Breaking) -> None:
        self._breaking = breaking

    def bind(self, unit: Unit | None, shopper: Shopper, grant: Grant | None = None) -> SimpleNamespace:
        part = _Part(self._breaking)
        return SimpleNamespace(shopper=shopper, carts=part, catalogue=part, orders=part, customers=part)


class _Part:
    def __init__(self, breaking: Breaking) -> None:
        self._breaking = breaking

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any, **named: Any) -> NoReturn:
            return await self._breaking()

        return call


@contextmanager
def broken(
    application: Application, monkeypatch: pytest.MonkeyPatch, breaking: Breaking
) -> Iterator[list[MutableMapping[str, Any]]]:
    """Replace every engine of an application, and yield the log of what the pages say about it. Pages wait briefly."""
    engines = cast(dict[str, Any], application.commerce.engines)
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(engine_reads, "DEADLINE", timedelta(seconds=0.1))
        for name in engines:
            patched.setitem(engines, name, BrokenEngine(breaking))
        yield logs


def reported(logs: list[MutableMapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the page and the level of each report of an engine that is not available."""
    return [(each["page"], each["log_level"]) for each in logs if each["event"] == "pages.engine_unavailable"]
