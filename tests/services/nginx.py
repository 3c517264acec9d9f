"""A real nginx for the tests, with the server block of a test."""

import socket
from contextlib import closing
from pathlib import Path

from tests.services.install import NGINX
from tests.services.server import Server, free_port, start

WHOLE = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {site}
}}
"""


def start_nginx(site: str, *, folder: Path, owner: int) -> Server:
    """Start nginx with a server block that listens on 8080, which becomes a free port. Raises `NotInstalled`."""
    program, port = NGINX.ensure(), free_port()
    file = folder / "nginx.conf"
    file.write_text(WHOLE.format(folder=folder, site=site.replace("listen 8080", f"listen 127.0.0.1:{port}")))
    return start(
        f"http://127.0.0.1:{port}",
        [str(program), "-p", str(folder), "-c", str(file)],
        folder=folder,
        answers=lambda: _listens(port),
        owner=owner,
    )


def _listens(port: int) -> bool:
    with closing(socket.socket()) as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0
