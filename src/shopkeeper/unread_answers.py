"""Closes connections whose clients do not read: an answer that nobody takes would hold its connection for ever.

The HTTP server limits how long a request may take to arrive, and not how long an answer may wait to be taken. The
system does: a connection inherits `TCP_USER_TIMEOUT` (RFC 5482) from the socket that accepts it, and is closed where
the other side has taken nothing for that long, also when it keeps its window closed.
"""

import contextlib
import os
import socket
import stat
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

READ_WITHIN: Final = 20_000
"""Milliseconds in which a client has to take some of what was sent to it."""
_DESCRIPTORS: Final = Path("/proc/self/fd")


def close_unread(ports: Collection[int], *, within: int = READ_WITHIN) -> int:
    """Set the deadline for the connections that the listening sockets of this process will accept.

    The HTTP server opens those sockets itself, so they are looked for. Returns how many were found: none on systems
    other than Linux, where a proxy in front has to do it.

    Args:
        within: milliseconds.
    """
    if sys.platform != "linux":
        return 0
    found = 0
    for each in _sockets():
        if _listens_at(each, ports):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, within)
            found += 1
    return found


def _sockets() -> Iterator[socket.socket]:
    """Yield the sockets of this process, as copies that are closed afterwards."""
    for entry in list(_DESCRIPTORS.iterdir()):
        with contextlib.suppress(OSError):  # not a socket, or closed meanwhile
            if stat.S_ISSOCK(os.fstat(int(entry.name)).st_mode):
                with socket.fromfd(int(entry.name), -1, -1) as copy:
                    yield copy


def _listens_at(each: socket.socket, ports: Collection[int]) -> bool:
    return (
        each.family in (socket.AF_INET, socket.AF_INET6)
        and bool(each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        and each.getsockname()[1] in ports
    )
