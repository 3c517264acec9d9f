"""A PostgreSQL server with TLS beside one without, and the files of certificates that a DSN may name."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import asyncpg

from tests.services.certificates import Authority, Issued
from tests.services.databases import in_a_loop_of_its_own
from tests.services.postgres import USER, WithTls, start_postgres
from tests.services.server import Server

ACCESS = (
    "hostssl   all only_tls   127.0.0.1/32 scram-sha-256",
    "hostnossl all only_plain 127.0.0.1/32 scram-sha-256",
    "hostssl   all shows_one  127.0.0.1/32 scram-sha-256 clientcert=verify-ca",
    "host      all only_tls,only_plain,shows_one all reject",
    "host      all all        127.0.0.1/32 scram-sha-256",
)
PASSWORD = "Not-To-Be-Told-77"


@dataclass(frozen=True)
class Ground:
    """Two servers, one of them with TLS, and the files that a DSN may name."""

    with_tls: Server
    without_tls: Server
    folder: Path

    @property
    def authority(self) -> Path:
        """The authority of the server's certificate."""
        return self.folder / "authority.pem"

    @property
    def ours(self) -> Issued:
        """A certificate that the server trusts."""
        return Issued.named("ours", self.folder)

    @property
    def stranger(self) -> Issued:
        """A certificate of another authority."""
        return Issued.named("stranger", self.folder)

    @property
    def revoked(self) -> Path:
        """A list that revokes the server's certificate."""
        return self.folder / "server.crl"

    def dsn(self, server: str, user: str, *, host: str = "localhost", **options: str) -> str:
        """Return a DSN; the password is the server's own for its owner, and ours for others."""
        url = urlsplit((self.with_tls if server == "with TLS" else self.without_tls).url)
        password = url.password if user == USER else PASSWORD
        query = "&".join(f"{name}={quote(value)}" for name, value in options.items())
        return f"postgres://{user}:{password}@{host}:{url.port}/postgres?{query}"

    def root(self, kind: str) -> dict[str, str]:
        """Return the option `sslrootcert` of one kind."""
        files = {
            "right": self.authority,
            "another": self.folder / "another.pem",
            "missing": self.folder / "nowhere.pem",
            "a folder": self.folder,
            "garbage": self.folder / "garbage.pem",
        }
        if kind == "absent":
            return {}
        return {"sslrootcert": "system" if kind == "system" else str(files[kind])}


def start_tls_postgres(folder: Path, *, owner: int) -> Server:
    """Start the server with TLS, and make the files of `Ground` in a folder."""
    folder.mkdir()
    authority, another = Authority("authority", folder), Authority("another", folder)
    (folder / "garbage.pem").write_text("Dear diary, " * 20)
    server = authority.issue("server", hosts=("localhost",))
    authority.issue("ours")
    another.issue("stranger")
    authority.revocations(server)
    started = start_postgres(owner=owner, tls=WithTls(server.certificate, server.key, authority.file, ACCESS))
    in_a_loop_of_its_own(_make_users, started)
    return started


async def _make_users(server: Server) -> None:
    connection = await asyncpg.connect(f"{server.url}/postgres?sslmode=disable")
    try:
        for user in ("only_tls", "only_plain", "shows_one"):
            await connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'")
    finally:
        await connection.close()
