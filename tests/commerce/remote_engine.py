"""A remote engine: the embedded shop behind a real HTTP server, and a connector that satisfies the engine port.

The wire is one POST for each method of the port, `/<part>/<method>`, with the shopper and the arguments in JSON; both
sides read types from the port itself. The server has switches for delays, failures and invalid answers. It executes a
merge once for each idempotency key, answers a repeated key as it did the first time, and refuses a key that comes with
another request.
"""

import asyncio
import contextlib
import inspect
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import msgspec

from shopkeeper.commerce.errors import OutOfStock, Shortage
from shopkeeper.commerce.port import (
    CartMergeReport,
    Carts,
    Catalogue,
    Customers,
    Engine,
    Grant,
    MergeMode,
    Orders,
    Shopper,
)
from shopkeeper.errors import Refusal, UpstreamFailed
from shopkeeper.http_client import GuardedClient
from shopkeeper.storage.database import Database, Unit

PARTS: Mapping[str, type] = {"carts": Carts, "catalogue": Catalogue, "orders": Orders, "customers": Customers}
MERGE, FORGET, ENSURE = "/merge_guest_cart", "/forget", "/customers/ensure"
NONSENSE = (b"<html>Welcome to nginx!</html>", b"", b"\xff\xfe", b"[[[[", b'{"outcome": "eaten"}', b"null", b"[]")
"""Bodies that no answer of this engine can have."""

Answer = tuple[int, bytes]


def load(body: bytes, type_: Any) -> Any:
    """Read JSON as a value of the port. Python's own parser takes what msgspec's refuses: halves of surrogate pairs."""
    return msgspec.convert(json.loads(body), type=type_)


def dump(value: Any) -> bytes:
    return json.dumps(msgspec.to_builtins(value)).encode()


# -- the server --------------------------------------------------------------------------------------------------------


@dataclass
class RemoteServer:
    """The engine's side. `database` is the engine's own; a caller of the engine has no access to it."""

    engine: Engine
    database: Database
    delay: float = 0.0
    """Seconds before a request is served."""
    delay_answers: float = 0.0
    """Seconds between the finished work and its answer."""
    status: int | None = None
    """Answer every request with this status instead of serving it."""
    nonsense: bytes | None = None
    """Answer every request with this body after serving it."""
    at: str | None = None
    """The path of the requests that the switches above concern; all where it is None."""
    on_call: Callable[[], Awaitable[None]] | None = None
    """Awaited at each request before it is served, to look at what the caller holds meanwhile."""
    calls: Counter[str] = field(default_factory=Counter)
    merges: Counter[str] = field(default_factory=Counter)
    """How often a merge was executed, by idempotency key."""
    merged: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a merge was executed."""
    failures: list[BaseException] = field(default_factory=list)
    """Exceptions of the server itself, which a client sees as a broken connection."""
    port: int = 0
    _answers: dict[str, tuple[bytes, Answer]] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    _listening: asyncio.Server | None = None
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def listen(self) -> None:
        """Take connections, at the same port as before if there was one."""
        self._listening = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def away(self) -> None:
        """Refuse connections, and break those that are open."""
        assert self._listening is not None
        self._listening.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The engine stands for another machine, so it must see neither the units nor the transactions of the test's
        # context.
        task = asyncio.create_task(self._converse(reader, writer), context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode()
                    path, headers = head.split()[1], _headers(head)
                    body = await reader.readexactly(int(headers.get("content-length", "0")))
                    status, answer = await self._answer(path, body, headers.get("idempotency-key"))
                    writer.write(f"HTTP/1.1 {status} Such\r\nContent-Length: {len(answer)}\r\n\r\n".encode() + answer)
                    await writer.drain()
        except Exception as failed:
            self.failures.append(failed)
        finally:
            writer.transport.abort()

    async def _answer(self, path: str, body: bytes, key: str | None) -> Answer:
        self.calls[path] += 1
        if self.on_call is not None:
            await self.on_call()
        if self.at not in {None, path}:
            return await self._work(path, body, key)
        await asyncio.sleep(self.delay)
        if self.status is not None:
            return self.status, b"The engine is not well."
        answer = await self._work(path, body, key)
        await asyncio.sleep(self.delay_answers)
        return answer if self.nonsense is None else (200, self.nonsense)

    async def _work(self, path: str, body: bytes, key: str | None) -> Answer:
        return await (self._once(key, path, body) if key else self._serve(path, body))

    async def _once(self, key: str, path: str, body: bytes) -> Answer:
        async with self._locks.setdefault(key, asyncio.Lock()):
            if key not in self._answers:
                self._answers[key] = body, await self._serve(path, body)
                self.merges[key] += 1
                self.merged.set()
            first, answer = self._answers[key]
            if body != first:
                self.failures.append(AssertionError(f"{key} came with another request"))
                return 422, b"This key belongs to another request."
            return answer

    async def _serve(self, path: str, body: bytes) -> Answer:
        asked = json.loads(body)
        try:
            async with self.database.unit() as unit:
                return 200, dump(await self._call(unit, path, asked))
        except Refusal as refused:
            error = {"code": refused.code, "reason": refused.reason, "details": refused.details}
            return refused.status, json.dumps(error).encode()

    async def _call(self, unit: Unit, path: str, asked: dict[str, Any]) -> Any:
        if path == FORGET:
            return await self.engine.forget(unit, asked["identity_id"])
        if path == MERGE:
            merge = self.engine.merge_guest_cart
            return await merge(unit, **_arguments(Engine.merge_guest_cart, asked["arguments"]))
        _, part, verb = path.split("/")
        session = self.engine.bind(unit, msgspec.convert(asked["shopper"], Shopper))
        method = getattr(session.__getattribute__(part), verb)
        return await method(**_arguments(getattr(PARTS[part], verb), asked["arguments"]))


def _headers(head: str) -> dict[str, str]:
    lines = [line.partition(":") for line in head.split("\r\n")[1:] if line]
    return {name.lower(): value.strip() for name, _, value in lines}


def _arguments(method: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(method)
    return {name: msgspec.convert(value, hints[name]) for name, value in given.items()}


# -- the connector -----------------------------------------------------------------------------------------------------


class RemoteEngine:
    """The client's side. Satisfies `Engine`; refuses to be called with a unit, which it cannot share."""

    name = "remote"
    shares_transaction = False

    def __init__(self, http_client: GuardedClient, url: str) -> None:
        self._outgoing, self._url = http_client, url

    def bind(self, unit: Unit | None, shopper: Shopper, grant: Grant | None = None) -> "RemoteSession":
        assert unit is None, "a remote engine shares no unit"
        return RemoteSession(self, shopper)

    async def merge_guest_cart(
        self,
        unit: Unit | None,
        *,
        guest: Shopper,
        customer: Shopper,
        cart_id: str | None,
        mode: MergeMode,
        idempotency_key: str | None = None,
    ) -> CartMergeReport:
        assert unit is None, "a remote engine shares no unit"
        arguments = {"guest": guest, "customer": customer, "cart_id": cart_id, "mode": mode}
        report: CartMergeReport = await self.post(
            MERGE, {"arguments": arguments}, CartMergeReport, idempotency_key=idempotency_key
        )
        return report

    async def forget(self, unit: Unit | None, identity_id: str) -> None:
        assert unit is None, "a remote engine shares no unit"
        await self.post(FORGET, {"identity_id": identity_id}, None)

    async def post(self, path: str, asked: Mapping[str, Any], type_: Any, *, idempotency_key: str | None = None) -> Any:
        """Send one request. Raises the port's refusals, and `UpstreamFailed` for everything else."""
        headers = {"Content-Type": "application/json"}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        reply = await self._outgoing.request("POST", self._url + path, headers=headers, content=dump(asked))
        try:
            if reply.ok:
                return load(reply.body, type_)
            refusal = _refusal(json.loads(reply.body))
        except (ValueError, KeyError, TypeError, AttributeError) as nonsense:
            raise UpstreamFailed("The engine's answer cannot be read.") from nonsense
        raise refusal


class RemoteSession:
    """Satisfies `EngineSession`."""

    def __init__(self, engine: RemoteEngine, shopper: Shopper) -> None:
        self.shopper = shopper
        self.carts, self.catalogue, self.orders, self.customers = (
            RemotePart(engine, shopper, name) for name in ("carts", "catalogue", "orders", "customers")
        )


class RemotePart:
    """Satisfies the protocol of a part: each of its methods is one request."""

    def __init__(self, engine: RemoteEngine, shopper: Shopper, name: str) -> None:
        self._engine, self._shopper, self._name = engine, shopper, name

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(PARTS[self._name], verb)

        async def call(*arguments: Any, **named: Any) -> Any:
            bound = inspect.signature(method).bind(self, *arguments, **named).arguments
            asked = {"shopper": self._shopper, "arguments": {k: v for k, v in bound.items() if k != "self"}}
            return await self._engine.post(f"/{self._name}/{verb}", asked, get_type_hints(method)["return"])

        return call


def _refusal(error: Mapping[str, Any]) -> Refusal:
    """Return the port's refusal for an error of the wire."""
    kind = _KINDS[error["code"]]
    if kind is OutOfStock:
        return OutOfStock([Shortage(**line) for line in error["details"]["lines"]])
    return kind(error["reason"], details=error["details"])


def _kinds(base: type[Refusal]) -> dict[str, type[Refusal]]:
    """Every refusal by its code; of those that share one, the most general, whose constructor is the common one."""
    found: dict[str, type[Refusal]] = {}
    for kind in base.__subclasses__():
        found |= _kinds(kind)
    return {**found, base.code: base}


_KINDS = {code: kind for code, kind in _kinds(Refusal).items() if 400 <= kind.status < 500 and kind.status != 429}


@contextlib.asynccontextmanager
async def remote_engine(engine: Engine, database: Database) -> AsyncIterator[tuple[RemoteServer, RemoteEngine]]:
    """Serve an engine behind HTTP for the length of the block; yield the server and the connector to it."""
    server = RemoteServer(engine, database)
    await server.listen()
    async with GuardedClient(networks=["127.0.0.0/8"]) as http_client:
        try:
            yield server, RemoteEngine(http_client, server.url)
        finally:
            await server.away()
