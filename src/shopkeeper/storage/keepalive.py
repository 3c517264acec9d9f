"""Has the kernel notice that the other end of a connection is gone, as where a firewall forgot an idle connection."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Keepalive:
    """TCP's keep-alive, with libpq's options of the same names. Zero leaves a value to the kernel.

    Args:
        keepalives: whether probes are sent while nothing else is.
        keepalives_idle: seconds of silence after which they begin.
        keepalives_interval: seconds between two of them.
        keepalives_count: how many may stay without an answer.
        tcp_user_timeout: milliseconds for which what was sent may stay unacknowledged.
    """

    keepalives: int = 1
    keepalives_idle: int = 30
    keepalives_interval: int = 10
    keepalives_count: int = 3
    tcp_user_timeout: int = 30_000

    @classmethod
    def of(cls, options: Mapping[str, str]) -> "Keepalive":
        """Return what the options of a DSN say. Raises `ValueError` with a sentence for one that is no number."""
        for name in OPTIONS:
            text = options.get(name, "0")
            if not (text.isascii() and text.isdigit() and len(text) < 8):
                raise ValueError(f"has a {name} that is no number; write for example {name}={getattr(cls(), name)}")
        return cls(**{name: int(options[name]) for name in OPTIONS if name in options})

    def apply(self, connection: Any) -> None:
        """Set the options of a driver's connection; a Unix socket has none."""
        found = connection._transport.get_extra_info("socket")
        if found is None or found.family not in {socket.AF_INET, socket.AF_INET6}:
            return
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(bool(self.keepalives)))
        for option, value in (
            ("TCP_KEEPIDLE", self.keepalives_idle),
            ("TCP_KEEPINTVL", self.keepalives_interval),
            ("TCP_KEEPCNT", self.keepalives_count),
            ("TCP_USER_TIMEOUT", self.tcp_user_timeout),
        ):
            number = getattr(socket, option, None)  # not every system has all of them
            if value and number is not None:
                found.setsockopt(socket.IPPROTO_TCP, number, value)


OPTIONS = tuple(Keepalive.__dataclass_fields__)
