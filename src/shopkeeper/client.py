"""The client of a request: its address and user agent, as far as they are trusted."""

import re
from dataclasses import dataclass
from ipaddress import ip_address


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


def names_this_machine(host: str) -> bool:
    """Return whether a host name or an address, without a port, is this machine itself (RFC 6761 section 6.3).

    >>> [names_this_machine(host) for host in ("localhost", "shop.localhost", "127.0.0.1", "localhost.evil.test")]
    [True, True, True, False]
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_private_address(host: str) -> bool:
    """Return whether a host is written as an IP address that is not reachable from the public Internet.

    >>> [is_private_address(host) for host in ("10.0.0.7", "fd00::7", "1.1.1.1", "idp.example")]
    [True, True, False, False]
    """
    try:
        return not ip_address(host).is_global
    except ValueError:
        return False


_WITH_PORT = re.compile(r"\[(?P<ipv6>[^\]]*)\](?::\d{1,5})?|(?P<other>[^:]*):\d{1,5}")
