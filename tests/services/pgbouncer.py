"""PgBouncer for the tests, in front of a PostgreSQL server: a connection pooler with fewer connections than clients."""

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from tests.services.install import PGBOUNCER
from tests.services.postgres import server_folder, server_user
from tests.services.server import Server, free_port, start

CONNECTIONS = 3
"""Connections to PostgreSQL for each database: so few that the clients of a test take turns."""


def start_pgbouncer(server: Server, *, pool_mode: str, owner: int, options: str = "") -> Server:
    """Start a pooler whose address serves every database of `server`, with the same user and password.

    Raises `NotInstalled` where there is no PgBouncer.
    """
    program, folder, user, port = PGBOUNCER.ensure(), server_folder("pgbouncer"), server_user(), free_port()
    address = urlsplit(server.url)
    _write(folder / "users", f'"{address.username}" "{address.password}"\n', user)
    settings = f"""
[databases]
* = host={address.hostname} port={address.port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder / "users"}
pool_mode = {pool_mode}
default_pool_size = {CONNECTIONS if pool_mode == "transaction" else 100}
max_client_conn = 500
{options}
"""
    _write(folder / "pgbouncer.ini", settings, user)
    return start(
        f"postgres://{address.username}:{address.password}@127.0.0.1:{port}",
        [str(program), str(folder / "pgbouncer.ini")],
        folder=folder,
        answers=lambda: _listens(port),
        owner=owner,
        user=user,
    )


def through(pooler: Server, dsn: str) -> str:
    """Return the data source name of the same database behind a pooler."""
    return f"{pooler.url}/{dsn.rpartition('/')[2]}"


def _write(file: Path, text: str, user: int | None) -> None:
    file.write_text(text)
    file.chmod(0o600)
    if user is not None:
        os.chown(file.parent, user, user)
        os.chown(file, user, user)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
