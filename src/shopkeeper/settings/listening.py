"""The addresses to listen on, from what `serve.public.host` and `serve.admin.host` say."""

import socket
from ipaddress import IPv6Address, ip_address


class UnknownHost(ValueError):
    """A host to listen on is neither an address nor a name that can be resolved."""


def address_of(host: str) -> str:
    """Return the one address that a host stands for. Raises `UnknownHost`.

    As in Go, and so in Kratos: no host at all means every address, of both kinds; of a name with several addresses, the
    first of IPv4 is taken, or else the first.

    >>> address_of("[::1]"), address_of("0:0::1"), address_of("0.0.0.0")
    ('::1', '::1', '0.0.0.0')
    """
    bare = host.strip().removeprefix("[").removesuffix("]")
    if not bare:
        return "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - that is what an empty host means
    try:
        address = ip_address(bare)
    except ValueError:
        return _resolved(bare)
    if isinstance(address, IPv6Address) and address.scope_id:
        raise UnknownHost(f"has the zone %{address.scope_id}, which cannot be listened on; give an address without")
    return str(address)


def _resolved(name: str) -> str:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as unknown:
        raise UnknownHost("is neither an address nor a name that can be resolved; give an address") from unknown
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return str(found[0][4][0])


def overlap(one: str, other: str) -> bool:
    """Return whether listening on one host also accepts connections to the other. False for an unknown host."""
    try:
        here, there = ip_address(address_of(one)), ip_address(address_of(other))
    except UnknownHost:
        return False
    return here == there or here.is_unspecified or there.is_unspecified


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to a host that is listened on. False for an unknown host."""
    try:
        return ip_address(address_of(host)).is_loopback
    except UnknownHost:
        return False
