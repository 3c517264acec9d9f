"""TLS to real PostgreSQL servers: for every `sslmode` and every kind of file, what libpq does.

The expected outcomes of the tables are those of `psql` 15 with the same DSN.
"""

from pathlib import Path

import pytest
from sqlalchemy import text

from shopkeeper.settings.dsn import parse_dsn
from shopkeeper.storage.database import Database
from shopkeeper.storage.unavailable import StorageUnavailable, explained
from tests.services.postgres import USER
from tests.services.tls_postgres import PASSWORD, Ground

# The driver closes refused connections in the background, which may outlive the loop of a test.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in.*(Transport|socket)")
NOT_TRUSTED = "is not trusted"
NO_FILE = "needs the certificates to trust"
NO_CERTIFICATES = "cannot be read as certificates"
NO_TLS = "speaks no TLS"
ONLY_WITH_TLS = "only with TLS"
NO_RULE = "no rule that admits"
PARSED = "proves nothing"

ROOTS = ("absent", "right", "another", "missing", "a folder", "garbage", "system")
# For each `sslmode`, the outcome for each of ROOTS: `tls`, `plain`, or a part of the sentence of the refusal.
WEAK = dict.fromkeys(("disable", "allow", "prefer", "require", "verify-ca"), PARSED)
SPEAKS_BOTH = {
    "disable": ("plain", "plain", "plain", "plain", "plain", "plain"),
    "allow": ("plain", "plain", "plain", "plain", "plain", "plain"),
    "prefer": ("tls", "tls", "plain", "tls", "plain", "plain"),
    "require": ("tls", "tls", NOT_TRUSTED, "tls", NO_CERTIFICATES, NO_CERTIFICATES),
    "verify-ca": (NO_FILE, "tls", NOT_TRUSTED, NO_FILE, NO_CERTIFICATES, NO_CERTIFICATES),
    "verify-full": (NO_FILE, "tls", NOT_TRUSTED, NO_FILE, NO_CERTIFICATES, NO_CERTIFICATES),
}
ONLY_TLS = {
    **SPEAKS_BOTH,
    "disable": (ONLY_WITH_TLS,) * 6,
    "allow": ("tls", "tls", NOT_TRUSTED, "tls", NO_CERTIFICATES, NO_CERTIFICATES),
    "prefer": ("tls", "tls", ONLY_WITH_TLS, "tls", ONLY_WITH_TLS, ONLY_WITH_TLS),
}
ONLY_PLAIN = {
    "disable": ("plain",) * 6,
    "allow": ("plain",) * 6,
    "prefer": ("plain",) * 6,
    "require": (NO_RULE, NO_RULE, NOT_TRUSTED, NO_RULE, NO_CERTIFICATES, NO_CERTIFICATES),
    "verify-ca": (NO_FILE, NO_RULE, NOT_TRUSTED, NO_FILE, NO_CERTIFICATES, NO_CERTIFICATES),
    "verify-full": (NO_FILE, NO_RULE, NOT_TRUSTED, NO_FILE, NO_CERTIFICATES, NO_CERTIFICATES),
}
WITHOUT_TLS = {
    "disable": ("plain",) * 6,
    "allow": ("plain",) * 6,
    "prefer": ("plain",) * 6,
    "require": (NO_TLS, NO_TLS, NO_TLS, NO_TLS, NO_CERTIFICATES, NO_CERTIFICATES),
    "verify-ca": (NO_FILE, NO_TLS, NO_TLS, NO_FILE, NO_CERTIFICATES, NO_CERTIFICATES),
    "verify-full": (NO_FILE, NO_TLS, NO_TLS, NO_FILE, NO_CERTIFICATES, NO_CERTIFICATES),
}
TABLES = {
    ("with TLS", USER): SPEAKS_BOTH,
    ("with TLS", "only_tls"): ONLY_TLS,
    ("with TLS", "only_plain"): ONLY_PLAIN,
    ("without TLS", USER): WITHOUT_TLS,
}
TABLE = [
    pytest.param(server, user, mode, root, outcome, id=f"{server}, {user}, {mode}, {root}")
    for (server, user), rows in TABLES.items()
    for mode, outcomes in rows.items()
    for root, outcome in zip(ROOTS, outcomes, strict=False)
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, without libpq's default files, and none of libpq's variables."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PGSSLMODE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGSSLCRL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


async def outcome(dsn: str) -> str:
    """Connect with a DSN; return `tls`, `plain`, or the sentence of the refusal."""
    try:
        parsed = parse_dsn(dsn)
    except ValueError as refused:
        return str(refused)
    database = Database(parsed.sqlalchemy_url, pool_size=1, connect_args=parsed.connect_args())
    encrypted = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    try:
        with explained(database.url):
            async with database.unit() as unit:
                return "tls" if await unit.scalar(encrypted) else "plain"
    except StorageUnavailable as refused:
        return str(refused).replace(PASSWORD, "the password must not be told")
    finally:
        await database.close()


@pytest.mark.parametrize(("server", "user", "mode", "root", "expected"), TABLE)
async def test_each_mode_and_root_file(
    ground: Ground, server: str, user: str, mode: str, root: str, expected: str
) -> None:
    assert expected in await outcome(ground.dsn(server, user, sslmode=mode, **ground.root(root)))


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca"])
async def test_the_systems_authorities_are_refused_with_a_weak_mode(ground: Ground, mode: str) -> None:
    assert PARSED in await outcome(ground.dsn("with TLS", USER, sslmode=mode, sslrootcert="system"))


@pytest.mark.parametrize("mode", [{}, {"sslmode": "verify-full"}], ids=["no mode", "verify-full"])
async def test_the_systems_authorities_are_trusted_where_they_are_named(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, mode: dict[str, str]
) -> None:
    dsn = ground.dsn("with TLS", USER, sslrootcert="system", **mode)
    assert NOT_TRUSTED in await outcome(dsn)
    monkeypatch.setenv("SSL_CERT_FILE", str(ground.authority))
    # The system's authorities are read once; another DSN reads them anew.
    assert await outcome(f"{dsn}&ssl_min_protocol_version=TLSv1.3") == "tls"


@pytest.mark.parametrize(("mode", "expected"), [("verify-full", NOT_TRUSTED), ("verify-ca", "tls"), ("require", "tls")])
async def test_only_verify_full_checks_the_hosts_name(ground: Ground, mode: str, expected: str) -> None:
    assert expected in await outcome(
        ground.dsn("with TLS", USER, host="127.0.0.1", sslmode=mode, **ground.root("right"))
    )


@pytest.mark.parametrize(("kind", "expected"), [("right", "tls"), ("another", NOT_TRUSTED)])
@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_the_default_root_file_is_the_one_of_libpq(
    ground: Ground, home: Path, mode: str, kind: str, expected: str
) -> None:
    (home / ".postgresql").mkdir()
    (home / ".postgresql" / "root.crt").symlink_to(ground.root(kind)["sslrootcert"])
    assert expected in await outcome(ground.dsn("with TLS", USER, sslmode=mode))


async def test_a_revoked_certificate_is_refused(ground: Ground) -> None:
    options = {"sslmode": "verify-full", "sslcrl": str(ground.revoked), **ground.root("right")}
    assert "certificate revoked" in await outcome(ground.dsn("with TLS", USER, **options))


@pytest.mark.parametrize(("least", "most", "expected"), [
    ("TLSv1.2", "TLSv1.2", "tls"),
    ("TLSv1.3", "TLSv1.3", "tls"),
    ("TLSv1.3", "TLSv1.2", "No TLS connection"),
    ("TLSv1", "TLSv1.2", "unsupported ssl_min_protocol_version"),
])  # fmt: skip
async def test_the_versions_of_tls_are_heeded(ground: Ground, least: str, most: str, expected: str) -> None:
    versions = {"ssl_min_protocol_version": least, "ssl_max_protocol_version": most}
    assert expected in await outcome(ground.dsn("with TLS", USER, sslmode="require", **versions))


async def test_libpqs_variables_stand_for_what_the_dsn_leaves_out(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", ground.root("another")["sslrootcert"])
    assert NOT_TRUSTED in await outcome(ground.dsn("with TLS", USER))


@pytest.mark.parametrize("mode", ["require", "verify-full"])
class TestOurCertificate:
    """What is shown to a server that asks for a certificate."""

    async def test_the_right_one_is_shown(self, ground: Ground, mode: str) -> None:
        options = {"sslcert": str(ground.ours.certificate), "sslkey": str(ground.ours.key)}
        assert await self._outcome(ground, mode, options) == "tls"

    async def test_the_default_files_are_those_of_libpq(self, ground: Ground, home: Path, mode: str) -> None:
        folder = home / ".postgresql"
        folder.mkdir()
        (folder / "postgresql.crt").write_bytes(ground.ours.certificate.read_bytes())
        (folder / "postgresql.key").write_bytes(ground.ours.key.read_bytes())
        (folder / "postgresql.key").chmod(0o600)
        assert await self._outcome(ground, mode, {}) == "tls"

    @pytest.mark.parametrize("certificate", [None, "nowhere.crt"], ids=["absent", "missing"])
    async def test_without_one_the_server_refuses(self, ground: Ground, mode: str, certificate: str | None) -> None:
        options = {} if certificate is None else {"sslcert": str(ground.folder / certificate)}
        assert "asks for a certificate of ours" in await self._outcome(ground, mode, options)

    async def test_one_that_is_not_sent_is_none(self, ground: Ground, mode: str) -> None:
        options = {"sslcert": str(ground.ours.certificate), "sslkey": str(ground.ours.key), "sslcertmode": "disable"}
        assert "asks for a certificate of ours" in await self._outcome(ground, mode, options)

    async def test_one_without_its_key_is_refused(self, ground: Ground, mode: str) -> None:
        options = {"sslcert": str(ground.ours.certificate)}
        assert "is there, but not its key" in await self._outcome(ground, mode, options)

    async def test_one_with_another_key_is_refused(self, ground: Ground, mode: str) -> None:
        options = {"sslcert": str(ground.ours.certificate), "sslkey": str(ground.stranger.key)}
        assert "belong together" in await self._outcome(ground, mode, options)

    @pytest.mark.parametrize("permissions", [0o604, 0o660, 0o644])
    async def test_a_key_that_others_may_read_is_refused(
        self, ground: Ground, tmp_path: Path, mode: str, permissions: int
    ) -> None:
        key = tmp_path / "open.key"
        key.write_bytes(ground.ours.key.read_bytes())
        key.chmod(permissions)
        options = {"sslcert": str(ground.ours.certificate), "sslkey": str(key)}
        assert "can be read by others" in await self._outcome(ground, mode, options)

    async def test_the_group_may_read_a_key_only_of_root(self, ground: Ground, tmp_path: Path, mode: str) -> None:
        key = tmp_path / "group.key"
        key.write_bytes(ground.ours.key.read_bytes())
        key.chmod(0o640)
        options = {"sslcert": str(ground.ours.certificate), "sslkey": str(key)}
        expected = "tls" if key.stat().st_uid == 0 else "can be read by others"
        assert expected in await self._outcome(ground, mode, options)

    async def test_a_folder_is_no_key(self, ground: Ground, mode: str) -> None:
        options = {"sslcert": str(ground.ours.certificate), "sslkey": str(ground.folder)}
        assert "is not a plain file" in await self._outcome(ground, mode, options)

    async def test_one_that_the_server_does_not_trust_is_refused(self, ground: Ground, mode: str) -> None:
        options = {"sslcert": str(ground.stranger.certificate), "sslkey": str(ground.stranger.key)}
        assert "check that the server knows its authority" in await self._outcome(ground, mode, options)

    @staticmethod
    async def _outcome(ground: Ground, mode: str, options: dict[str, str]) -> str:
        return await outcome(ground.dsn("with TLS", "shows_one", sslmode=mode, **ground.root("right"), **options))
