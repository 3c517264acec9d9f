"""Hosts to listen on, and what they stand for."""

import socket
from typing import Any

import pytest

from shopkeeper.settings.listening import UnknownHost, address_of, is_loopback, overlap

EVERY = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names as a machine with both kinds of addresses resolves them; every other name is unknown."""
    known = {"localhost": ["::1", "127.0.0.1"], "six.test": ["2001:db8::7"], "münchen.test": ["192.0.2.7"]}

    def resolve(host: str, *_: object, **__: object) -> list[Any]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        kinds = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(kinds[":" in address], socket.SOCK_STREAM, 6, "", (address, 0)) for address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("", EVERY),
        (" ", EVERY),
        ("[]", EVERY),
        ("[::]", "::"),
        ("::", "::"),
        ("0:0::1", "::1"),
        ("[::1]", "::1"),
        ("0.0.0.0", "0.0.0.0"),
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("six.test", "2001:db8::7"),
        ("münchen.test", "192.0.2.7"),
    ],
)
def test_a_host_stands_for_one_address(host: str, address: str) -> None:
    assert address_of(host) == address


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("host", ["nowhere.test", "127.0.0.1.", "a..b", "http://shop.test", "fe80::1%eth0", "*"])
def test_any_other_host_is_refused_with_a_sentence(host: str) -> None:
    with pytest.raises(UnknownHost, match="give an address"):
        address_of(host)
    assert not overlap(host, host)
    assert not is_loopback(host)


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("localhost", "127.0.0.1", True),
        ("", "10.0.0.7", True),
        ("[::]", "127.0.0.1", True),
        ("six.test", "[2001:db8::7]", True),
        ("localhost", "10.0.0.7", False),
    ],
)
def test_hosts_overlap_by_their_addresses(one: str, other: str, expected: bool) -> None:
    assert overlap(one, other) is overlap(other, one) is expected
