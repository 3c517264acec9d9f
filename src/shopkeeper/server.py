"""Running the server: two ports in one process, or several such processes beside each other (`server_processes.py`).

Public and admin app share a process, so that changes by one are visible to the other at once. Several processes listen
on the same ports; they learn of each other's changes through the shared cache, which the settings check requires.
"""

import asyncio
import contextlib
import errno
import gc
import multiprocessing
import signal
import socket
import sys
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from starlette.types import ASGIApp

from shopkeeper.app import Misconfigured, running
from shopkeeper.log_config import configure_log
from shopkeeper.server_limits import (
    HEADERS_WITHIN,
    LARGEST_HEAD,
    ServerLimits,
    backlog_for,
    raise_descriptor_limit,
    server_limits,
)
from shopkeeper.server_processes import ServerProcesses
from shopkeeper.settings import Settings, SettingsError, StartValues, load_beside
from shopkeeper.settings.listening import UnknownHost
from shopkeeper.settings.serving import AdminServer, PublicServer
from shopkeeper.unread_answers import close_unread

log = structlog.get_logger("shopkeeper.serving")

GRACE = 10.0
"""Seconds that open requests have to finish when the server is stopped."""
COLLECT_AFTER = (20_000, 20, 50)
"""How many more objects were created than freed before the garbage collector scans the youngest generation, and how
often it does that before it scans an older one."""
LoadSettings = Callable[[], Settings]
Result = TypeVar("Result")


class PortTaken(Exception):
    """A port that we should listen on is not available; the sentence says which, and what to do."""


class ServerEnded(Exception):
    """A server stopped unexpectedly."""


def require_ports(settings: Settings, *, may_be_taken: bool = False) -> None:
    """Raise `PortTaken` unless both ports can be listened on. Two servers on one port would share its visitors.

    With `may_be_taken`, a port that is in use is fine: for a check beside the running server.
    """
    for name, endpoint in (("public", settings.serve.public), ("admin", settings.serve.admin)):
        try:
            _bind(endpoint.address, endpoint.port)
        except UnknownHost as unknown:
            raise PortTaken(f"serve.{name}.host {unknown}.") from unknown
        except OSError as refused:
            if not (may_be_taken and refused.errno == errno.EADDRINUSE):
                raise PortTaken(_unusable(name, endpoint, refused)) from refused


def _bind(address: str, port: int) -> None:
    with contextlib.closing(socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address, port))


def _unusable(name: str, endpoint: PublicServer | AdminServer, refused: OSError) -> str:
    where = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    advice = {
        errno.EADDRNOTAVAIL: f"this machine does not have that address; give serve.{name}.host one that it has",
        errno.EACCES: f"this user may not; choose a port above 1023 with serve.{name}.port",
    }.get(
        refused.errno or 0,
        f"stop what listens there, or choose another with serve.{name}.port (SERVE_{name.upper()}_PORT)",
    )
    return f"The {name} port {where}:{endpoint.port} cannot be used ({refused.strerror}): {advice}."


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end on the event loop of a server: uvloop, or Python's own on Windows, where uvloop does
    not exist."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def _loop_factory() -> Callable[[], AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 - does not exist on Windows

    return uvloop.new_event_loop


def serve(load: LoadSettings, *, announce: Callable[[Settings], None]) -> None:
    """Serve until stopped. `load` is called again in each further process, because settings are not passed to it.

    `announce` is called once, when the ports are open.
    """
    settings = load()
    limits_of_process(settings)
    require_ports(settings)
    if settings.http.workers == 1:
        run(_serve_here(settings, load, ready=lambda: announce(settings)))
        return
    ServerProcesses(_child, load, settings).run(ready=lambda: _announce_when_open(settings, announce))


def limits_of_process(settings: Settings) -> ServerLimits:
    """Raise this process's limit of file descriptors, and return what it allows. Raises `TooFewDescriptors`."""
    # The database has a pool for reading and one for writing.
    return server_limits(raise_descriptor_limit(), database_connections=2 * settings.dsn.pool_size)


async def _serve_here(settings: Settings, load: LoadSettings, *, ready: Callable[[], None]) -> None:
    stop = _stop_signal()
    _stop_with_parent(stop)
    limits = limits_of_process(settings)
    async with running(settings, load) as application:
        servers = [
            _server(application.public, settings.serve.public, connections=limits.public_connections),
            _server(application.admin, settings.serve.admin, connections=limits.admin_connections),
        ]
        serving = [asyncio.create_task(server.serve(), name="serve") for server in servers]
        opening = asyncio.create_task(_listening(settings))
        await asyncio.wait([opening, *serving], return_when=asyncio.FIRST_COMPLETED)
        if opening.done():
            opening.result()
            close_unread({settings.serve.public.port, settings.serve.admin.port})
            _spare_the_collector()
            ready()
        opening.cancel()
        await asyncio.wait([asyncio.create_task(stop.wait()), *serving], return_when=asyncio.FIRST_COMPLETED)
        broken = [task for task in serving if task.done()]
        for server in servers:
            server.stop()  # type: ignore[no-untyped-call]  # granian's embedded server carries no types here
        await asyncio.wait(serving, timeout=GRACE)
        for task in broken:
            raise ServerEnded("A port was closed unexpectedly; start the server again.") from task.exception()


def _spare_the_collector() -> None:
    """Exclude the objects of the start from garbage collection, because they live as long as the process: scanning all
    of them again and again would stop every request for a tenth of a second."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


async def _listening(settings: Settings) -> None:
    """Wait until both ports answer. Raises `ServerEnded` where they do not."""
    for endpoint in (settings.serve.public, settings.serve.admin):
        every = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - names, not a bind
        await _connectable(every.get(endpoint.address, endpoint.address), endpoint.port)


async def _connectable(address: str, port: int) -> None:
    for _ in range(3000):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(address, port)
            writer.close()
            return
        await asyncio.sleep(0.01)
    raise ServerEnded(f"Nothing answers at port {port} of {address}, where the server should listen; start it again.")


def _announce_when_open(settings: Settings, announce: Callable[[Settings], None]) -> None:
    asyncio.run(_listening(settings))
    announce(settings)


def _stop_signal() -> asyncio.Event:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


def _stop_with_parent(stop: asyncio.Event) -> None:
    """Stop when the parent is killed: otherwise this process would keep listening beside the next server, with an older
    configuration.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        # Once readable it stays readable; the loop ends with `stop`, and setting that again changes nothing.
        asyncio.get_running_loop().add_reader(parent.sentinel, stop.set)


def _server(app: ASGIApp, endpoint: PublicServer | AdminServer, *, connections: int) -> Server:
    return Server(
        app,
        address=endpoint.address,
        port=endpoint.port,
        interface=Interfaces.ASGINL,
        websockets=False,
        log_enabled=False,
        # With HTTP/2 offered as well, an idle connection would never be closed.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADERS_WITHIN, max_buffer_size=LARGEST_HEAD),
        backlog=backlog_for(connections),
        backpressure=connections,
    )


async def work(load: LoadSettings) -> None:
    """Deliver the outbox and run the cleanup until stopped, without any port.

    Raises `ServerEnded` when a background task has failed, so that the process does not stay without working.
    """
    stop = _stop_signal()

    def load_for_worker() -> Settings:
        settings = load()
        return settings.model_copy(update={"outbox": settings.outbox.model_copy(update={"worker": "in_process"})})

    async with running(load_for_worker(), load_for_worker) as run:
        application = run.application
        application.background.on_failure(stop.set)
        await stop.wait()
        if await application.background.check() is not None:
            raise ServerEnded("Deliveries or the cleanup ended with an error, which is in the log; start again.")


# -- several processes -------------------------------------------------------------------------------------------------


def _child(load: LoadSettings, start: StartValues) -> None:
    """Serve in a further process, with settings that agree with those of the start."""
    configure_log(start["log"])
    try:
        run(_serve_here(load_beside(load, start), load, ready=lambda: None))
    except (SettingsError, Misconfigured) as refused:
        log.error("configuration.refused", problems=str(refused).splitlines())
        raise SystemExit(1) from None
