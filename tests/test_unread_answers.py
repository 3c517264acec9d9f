"""Connections whose clients do not read."""

import socket
import sys
from contextlib import ExitStack

import pytest

from shopkeeper.unread_answers import READ_WITHIN, close_unread

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has this time limit")


def listening(within: ExitStack) -> tuple[socket.socket, int]:
    one = within.enter_context(socket.create_server(("127.0.0.1", 0)))
    return one, one.getsockname()[1]


def limit_of(connection: socket.socket) -> int:
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


def test_row_093_connections_of_our_ports_have_the_limit() -> None:
    with ExitStack() as opened:
        ours, port = listening(opened)
        another, elsewhere = listening(opened)
        assert close_unread({port}) == 1
        for door, number, expected in ((ours, port, READ_WITHIN), (another, elsewhere, 0)):
            opened.enter_context(socket.create_connection(("127.0.0.1", number)))
            accepted, _ = door.accept()
            assert limit_of(opened.enter_context(accepted)) == expected


def test_row_093_who_does_not_read_is_disconnected() -> None:
    """Regression: a thousand clients that did not read their answers kept the public port closed."""
    with ExitStack() as opened:
        ours, port = listening(opened)
        close_unread({port}, within=300)
        client = opened.enter_context(socket.socket())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(("127.0.0.1", port))
        accepted, _ = ours.accept()
        accepted.settimeout(30)
        with opened.enter_context(accepted), pytest.raises(TimeoutError, match="Connection timed out"):
            accepted.sendall(b"x" * 50_000_000)


def test_a_port_of_nobody_is_not_found() -> None:
    assert close_unread(set()) == 0
