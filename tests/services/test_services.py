"""The test servers: they start in any environment, and none is left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import postgres
from tests.services.postgres import start_postgres
from tests.services.server import NotStarted, Server, share, start, wait_until
from tests.services.valkey import start_valkey

START_AND_WAIT = """
import os, sys
from tests.services.valkey import start_valkey
print(start_valkey(owner=os.getpid()).folder, flush=True)
sys.stdin.read()
"""


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def pid_of(server: Server) -> int:
    return int((Path(server.folder) / "pid").read_text())


def test_a_stopped_server_is_gone_with_its_files() -> None:
    server = start_valkey(owner=os.getpid())
    pid = pid_of(server)
    assert runs(pid)
    server.stop()
    assert not runs(pid)
    assert not Path(server.folder).exists()


def test_a_server_does_not_outlive_a_run_that_was_killed() -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", START_AND_WAIT],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.stdin is not None
    assert run.stdout is not None
    folder = Path(run.stdout.readline().strip())
    pid = int((folder / "pid").read_text())
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    run.stdin.close()
    wait_until(lambda: not runs(pid) and not folder.exists(), "the end of the server")


def test_the_processes_of_a_run_share_one_server(tmp_path: Path) -> None:
    begun = []

    def begin() -> Server:
        begun.append(start_valkey(owner=os.getpid()))
        return begun[0]

    try:
        assert share(tmp_path, "valkey", begin) == share(tmp_path, "valkey", begin)
        assert len(begun) == 1
    finally:
        begun[0].stop()


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match="no such port"):
        start(
            "",
            [sys.executable, "-c", "import sys; sys.exit('no such port')"],
            folder=tmp_path,
            answers=lambda: False,
            owner=os.getpid(),
        )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends the server to another user")
def test_root_starts_a_server_whose_program_only_root_can_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout in root's home is private, and PostgreSQL does not run as root."""
    home = next(postgres._installations()).parent
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / home.parent.name).symlink_to(home.parent)
    (private / f"{home.parent.name}.libs").symlink_to(home.parent.with_name(f"{home.parent.name}.libs"))
    monkeypatch.setattr(postgres, "_installations", lambda: iter([private / home.parent.name / home.name / "bin"]))
    server = start_postgres(owner=os.getpid())
    assert Path(f"/proc/{pid_of(server)}/exe").resolve().is_relative_to(server.folder)
    server.stop()
