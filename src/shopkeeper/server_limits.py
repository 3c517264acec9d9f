"""The limits of the server that listens: connections, the time for a header, the size of all headers.

A connection is a file descriptor. Where more are accepted than the process may have, accepting fails over and over, on
both ports, and takes a whole core. So the connections of each port are bounded by the limit of descriptors, with a
reserve for databases, caches, files and calls to other servers.
"""

import sys
from dataclasses import dataclass
from typing import Final

HEADERS_WITHIN: Final = 5_000
"""Milliseconds for the whole header of a request to arrive, also of the next one on an open connection."""
LARGEST_HEAD: Final = 32_768
"""Bytes of the first line and of all headers together; more are answered with 431."""
MOST_CONNECTIONS: Final = 10_000
"""Connections of a port: a connection takes some twenty kilobytes."""
FEW_CONNECTIONS: Final = 1_000
"""Fewer connections of the public port than this are worth a warning."""
BACKLOG: Final = 1_024
"""Connections that wait to be accepted. No more than are served at once, so that they wait for one time-out at most."""
RESERVE: Final = 128
"""Descriptors for files, pipes, the log, the cache, mail and other servers."""
SHARE_OF_ADMIN: Final = 8
"""One of so many connections is the admin port's."""
FEWEST_CONNECTIONS: Final = 16
UNLIMITED: Final = 1 << 20
"""Descriptors where the system names no limit; more than are ever used."""


_HOW: Final = "LimitNOFILE of systemd, --ulimit nofile of Docker, ulimit -n of a shell"


class TooFewDescriptors(Exception):
    """The limit of file descriptors leaves no connections to serve; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """The limits of one process, derived from its limit of file descriptors."""

    descriptors: int
    public_connections: int
    admin_connections: int

    @property
    def few(self) -> bool:
        """Whether an operator should raise the limit of descriptors."""
        return self.public_connections < FEW_CONNECTIONS

    @property
    def sentence(self) -> str:
        """What was derived, and what to do where it is little."""
        derived = (
            f"A process may open {self.descriptors} file descriptors: it serves {self.public_connections} connections "
            f"on the public port and {self.admin_connections} on the admin port."
        )
        return f"{derived} That is few: raise the limit ({_HOW})." if self.few else derived


def raise_descriptor_limit() -> int:
    """Raise the soft limit of file descriptors to the hard one, and return what the process may have.

    The soft limit is low for programs that use `select`, which this one does not.
    """
    if sys.platform == "win32":
        return UNLIMITED
    import resource  # noqa: PLC0415 - does not exist on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):  # some systems allow less than the hard limit that they report
        hard = soft
    return UNLIMITED if hard == resource.RLIM_INFINITY else hard


def server_limits(descriptors: int, *, database_connections: int) -> ServerLimits:
    """Return the limits of a process. Raises `TooFewDescriptors` where nothing is left for connections.

    Args:
        descriptors: how many file descriptors the process may have.
        database_connections: how many of them the database's pools may take.
    """
    left = descriptors - RESERVE - database_connections
    admin = left // SHARE_OF_ADMIN
    if admin < FEWEST_CONNECTIONS:
        needed = RESERVE + database_connections + FEWEST_CONNECTIONS * SHARE_OF_ADMIN
        raise TooFewDescriptors(
            f"The process may open {descriptors} file descriptors, and needs {needed} at least, {database_connections} "
            f"of them for the database (max_conns in the DSN): raise the limit ({_HOW})."
        )
    return ServerLimits(
        descriptors=descriptors,
        public_connections=min(left - admin, MOST_CONNECTIONS),
        admin_connections=min(admin, MOST_CONNECTIONS),
    )


def backlog_for(connections: int) -> int:
    """Return how many connections may wait to be accepted."""
    return min(BACKLOG, connections)
