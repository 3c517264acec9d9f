"""The client of a request: its address and user agent, as far as we believe them."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request comes from, as far as we believe it."""

    ip: str
    user_agent: str = ""
    port: int | None = None

    @property
    def address(self) -> str:
        """The address as Kratos prints it in a device: that of IPv6 in brackets, where a port follows."""
        if self.port is None:
            return self.ip
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


def without_port(address: str) -> str:
    """The network address in what `Client.address` printed, or a proxy wrote into a header.

    >>> [without_port(text) for text in ("192.0.2.7:5000", "[2001:db8::1]:5000", "[2001:db8::1]", "2001:db8::1")]
    ['192.0.2.7', '2001:db8::1', '2001:db8::1', '2001:db8::1']
    """
    found = _WITH_PORT.fullmatch(address)
    return (found["ipv6"] or found["other"] or "") if found else address


_WITH_PORT = re.compile(r"\[(?P<ipv6>[^\]]*)\](?::\d{1,5})?|(?P<other>[^:]*):\d{1,5}")
