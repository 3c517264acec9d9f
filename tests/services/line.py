"""A TCP connection to a server that can fall silent: what is sent arrives nowhere, and nobody hangs up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Line:
    """Forwards what arrives at a port of its own, until it is told to hold everything back."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_words: bytes | None = None
        self._accepted = self._forgotten = 0
        self.port = 0

    def fall_silent(self) -> None:
        """Forward nothing from now on, in either direction, on open connections and on new ones."""
        self._open.clear()

    def speak_again(self) -> None:
        self._open.set()

    def forget(self) -> None:
        """Forward nothing more on the connections that are open now, as a firewall that has forgotten them."""
        self._forgotten = self._accepted

    def hang_up_at(self, words: bytes) -> None:
        """Let what contains these words arrive at the server, and hang up when the server answers."""
        self._last_words = words

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with closing(writer):
            self._accepted += 1
            number = self._accepted
            await self._open.wait()
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            async with closing(far_writer):
                said = asyncio.Event()
                await asyncio.gather(
                    self._ask(reader, far_writer, said, number), self._answer(far_reader, writer, said)
                )

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: asyncio.Event, number: int
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self._open.wait()
                if number <= self._forgotten:
                    continue
                if self._last_words is not None and self._last_words in data:
                    said.set()
                writer.write(data)
                await writer.drain()
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: asyncio.Event) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self._open.wait()
                if said.is_set():
                    self._last_words = None
                    writer.transport.abort()
                    return
                writer.write(data)
                await writer.drain()
            writer.close()


@asynccontextmanager
async def closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Close a connection at the end, whoever has hung up already."""
    try:
        yield
    finally:
        writer.transport.abort()


@asynccontextmanager
async def line_to(host: str, port: int) -> AsyncIterator[Line]:
    """Open a line to a server, on a free port of this machine."""
    line = Line(host, port)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(line._accept(reader, writer))
        line._tasks.add(task)
        task.add_done_callback(line._tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()
        for task in line._tasks:
            task.cancel()
        await asyncio.gather(*line._tasks, return_exceptions=True)
