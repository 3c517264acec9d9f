"""The client of a request: its address and user agent, as far as they are trusted."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request comes from: an address and a user agent."""

    ip: str
    user_agent: str = ""
    port: int | None = None

    @property
    def address(self) -> str:
        """The address as Kratos prints it in a device; IPv6 addresses are in brackets where a port follows."""
        if self.port is None:
            return self.ip
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


def without_port(address: str) -> str:
    """Return the network address without the port, from the form of `Client.address` or of a proxy's header.

    >>> [without_port(text) for text in ("192.0.2.7:5000", "[2001:db8::1]:5000", "[2001:db8::1]", "2001:db8::1")]
    ['192.0.2.7', '2001:db8::1', '2001:db8::1', '2001:db8::1']
    """
    found = _WITH_PORT.fullmatch(address)
    return (found["ipv6"] or found["other"] or "") if found else address


_WITH_PORT = re.compile(r"\[(?P<ipv6>[^\]]*)\](?::\d{1,5})?|(?P<other>[^:]*):\d{1,5}")
