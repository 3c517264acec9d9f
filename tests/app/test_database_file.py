"""An SQLite database whose disk or file fails under a running application: 503 and not ready, and then on by itself."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx2
import pytest
from structlog.testing import capture_logs

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import HERE, Scene, new_address, opened, sign_in, submit
from tests.conftest import Run
from tests.services.databases import new_sqlite
from tests.services.file_limits import no_file_grows

MAIL = {"courier": {"smtp": {"connection_uri": "smtp://127.0.0.1:9/?disable_starttls=true"}}}
Fail = Callable[[Path], AbstractContextManager[None]]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a small disk of its own; on the tests' own disk where this user may not mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], check=False).returncode == 0
    yield place
    if mounted:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
async def scene(run: Run, disk: Path, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[Scene]:
    async with opened(new_sqlite(run.folder, disk), tmp_path, clock, settings=MAIL) as scene:
        yield scene


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Fill the disk; make room again at the end."""
    if not os.path.ismount(disk):
        pytest.skip("only root may mount a small disk; see the limit of a file's size for the same failure")
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            pass
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def limited(disk: Path) -> Iterator[None]:
    """Forbid this process to make any file longer than the shortest of the database's."""
    with no_file_grows():
        yield


@contextmanager
def removed(disk: Path) -> Iterator[None]:
    """Take the database's file away; put it back at the end."""
    away = disk / "away"
    away.mkdir()
    for file in disk.glob("shopkeeper.db*"):
        file.rename(away / file.name)
    try:
        yield
    finally:
        for file in away.iterdir():
            file.rename(disk / file.name)


@contextmanager
def garbage(disk: Path) -> Iterator[None]:
    """Put something else in the place of the database's file."""
    with removed(disk):
        (disk / "shopkeeper.db").write_bytes(b"Dear diary, " * 1000)
        try:
            yield
        finally:
            for file in disk.glob("shopkeeper.db*"):
                file.unlink()


@pytest.mark.parametrize("fail", [full, limited, removed, garbage])
@pytest.mark.usefixtures("capsys")  # keeps the log in memory, where the limit of files does not stop it
async def test_it_answers_503_is_not_ready_and_goes_on_by_itself(scene: Scene, disk: Path, fail: Fail) -> None:
    app, admin = await scene.native(ip=HERE), await scene.admin()
    email = new_address()
    assert (await _sign_up(app, email)).status_code == 200
    with fail(disk):
        # The write-ahead log may have some room left, so that the first attempts can still succeed.
        answer = await _until_refused(app)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, 503), answer.text
        assert int(answer.headers["retry-after"]) >= 1
        await _until_ready(admin, 503)
        told = (await admin.get("/health/ready")).json()["errors"]["database"]
        assert "shopkeeper.db" in told
        in_public = await app.get("/health/ready")
        assert (in_public.status_code, in_public.json()) == (503, {"errors": {"database": "not available"}})
    await _until_ready(admin, 200)
    assert (await sign_in(app, email)).status_code == 200
    assert (await _sign_up(app, new_address())).status_code == 200


async def test_a_file_that_is_gone_before_its_first_use_is_not_made_anew(scene: Scene, disk: Path) -> None:
    """Regression: SQLite made an empty database in its place, and every write was a 500."""
    await scene.application.infrastructure.database.close()  # its connections are opened again when they are needed
    app = await scene.native()
    with removed(disk):
        answer = await app.get("/self-service/login/api")
        assert (answer.status_code, int(answer.headers["retry-after"])) == (503, 1)
        assert "shopkeeper.db" not in _names(disk)
    assert (await app.get("/self-service/login/api")).status_code == 200


async def test_a_file_that_was_restored_is_opened_anew(scene: Scene, disk: Path) -> None:
    app, email = await scene.native(), new_address()
    _copy(disk, "shopkeeper.db", "backup.db")
    assert (await _sign_up(app, email)).status_code == 200
    _copy(disk, "backup.db", "shopkeeper.db")
    assert (await sign_in(app, email)).status_code == 400
    assert (await _sign_up(app, email)).status_code == 200


def _names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def _copy(folder: Path, name: str, copy: str) -> None:
    """Copy a database to a new file, with its write-ahead log."""
    for ending in ("", "-wal"):
        shutil.copyfile(folder / f"{name}{ending}", folder / f"new{ending}")
        (folder / f"new{ending}").replace(folder / f"{copy}{ending}")


async def _sign_up(app: httpx2.AsyncClient, email: str) -> httpx2.Response:
    form = {"method": "password", "password": "a kettle on the plum shelf", "traits": {"email": email}}
    return await submit(app, "registration", form)


async def _until_refused(app: httpx2.AsyncClient) -> httpx2.Response:
    for _ in range(2000):
        answer = await app.get("/self-service/login/api")
        if answer.status_code != 200:
            return answer
    raise AssertionError("every write succeeded")


async def _until_ready(admin: httpx2.AsyncClient, status: int) -> None:
    """Ask until the answer is as expected: a probe that succeeded counts for a second."""
    for _ in range(100_000):
        if (await admin.get("/health/ready")).status_code == status:
            return
    raise AssertionError(f"/health/ready never answered {status}")


async def test_no_refusal_is_stored_in_the_database_that_is_away(scene: Scene, disk: Path) -> None:
    """Regression: where the database was silent, a browser waited for the refusal, and then for its storing."""
    away = {}
    with removed(disk):
        for accept in ("text/html", "application/json"):
            with capture_logs() as logs:
                answer = await (await scene.browser()).get("/self-service/login/browser", headers={"accept": accept})
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            away[accept] = sum(line["event"] == "database.away" for line in logs)
    assert away["text/html"] == away["application/json"] == 1
