"""A TLS server in front of a plain one, as production has it: bytes in, bytes out."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

CHUNK = 65_536


@contextmanager
def tls_front(target: str, *, port: int, context: ssl.SSLContext) -> Iterator[None]:
    """End TLS at a port of this machine for the length of the block, and pass all bytes on to a plain address."""
    address, loop = urlsplit(target), asyncio.new_event_loop()

    async def serve(ours: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        theirs, onwards = await asyncio.open_connection(address.hostname, address.port)
        try:
            await asyncio.gather(_pass(ours, onwards), _pass(theirs, answer))
        finally:
            onwards.close()
            answer.close()

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        begun = asyncio.run_coroutine_threadsafe(asyncio.start_server(serve, "127.0.0.1", port, ssl=context), loop)
        server = begun.result(10)
        try:
            yield
        finally:
            loop.call_soon_threadsafe(server.close)
            asyncio.run_coroutine_threadsafe(_end(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await source.read(CHUNK):
            sink.write(chunk)
            await sink.drain()
    sink.close()


async def _end() -> None:
    """End the connections that clients keep open."""
    waiting = asyncio.all_tasks() - {asyncio.current_task()}
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
