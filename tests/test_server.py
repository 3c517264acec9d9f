"""Running the server: the event loop of its processes, and where they listen."""

import asyncio
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shopkeeper.server import PortTaken, require_ports, run, serve
from shopkeeper.settings import Settings, findings
from shopkeeper.settings import load as load_settings
from tests.services.server import free_port

Load = Callable[[str], Settings]


async def loop_in_use() -> str:
    return type(asyncio.get_running_loop()).__module__


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop does not exist on Windows")
def test_processes_that_serve_run_on_uvloop() -> None:
    assert run(loop_in_use()) == "uvloop"


class TestHosts:
    """`serve` listens where `doctor` says that it can, on both ports."""

    @pytest.fixture(autouse=True)
    def collector(self) -> Iterator[None]:
        """Restore the garbage collector, which a server sets up for itself."""
        before = gc.get_threshold()
        yield
        gc.unfreeze()
        gc.set_threshold(*before)

    @pytest.fixture
    def load(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
        monkeypatch.chdir(tmp_path)

        def load(host: str) -> Settings:
            ports = {"public": free_port(), "admin": free_port()}
            file = tmp_path / "shop.json"
            doors = {name: {"host": host, "port": port} for name, port in ports.items()}
            file.write_text(json.dumps({"dsn": "memory", "serve": doors}))
            return load_settings([file], {}, dev=True, demo=False)

        return load

    @pytest.mark.parametrize(
        ("host", "reached"),
        [
            ("localhost", ["localhost"]),
            ("", ["127.0.0.1", "::1"] if socket.has_dualstack_ipv6() else ["127.0.0.1"]),
            ("[::]", ["::1"]),
            ("[::1]", ["::1"]),
            ("127.0.0.1", ["127.0.0.1"]),
        ],
    )
    def test_it_answers_at_the_addresses_of_the_host(self, load: Load, host: str, reached: list[str]) -> None:
        settings, answered = load(host), []

        def announced(_: Settings) -> None:
            for address in reached:
                for port in (settings.serve.public.port, settings.serve.admin.port):
                    with socket.create_connection((address, port), timeout=10):
                        answered.append((address, port))
            os.kill(os.getpid(), signal.SIGTERM)

        require_ports(settings, may_be_taken=True)
        assert not [finding for finding in findings(settings) if finding.level == "error"]
        serve(lambda: settings, announce=announced)
        assert len(answered) == 2 * len(reached)

    def test_a_port_in_use_is_fine_for_a_check_and_refused_for_a_start(self, load: Load) -> None:
        settings = load("localhost")
        with socket.create_server(("127.0.0.1", settings.serve.admin.port)):
            require_ports(settings, may_be_taken=True)
            with pytest.raises(PortTaken, match="stop what listens there"):
                require_ports(settings)

    def test_an_address_of_another_machine_is_refused_for_both(self, load: Load) -> None:
        settings = load("192.0.2.7")  # RFC 5737: no machine has it
        for may_be_taken in (False, True):
            with pytest.raises(PortTaken, match="this machine does not have that address"):
                require_ports(settings, may_be_taken=may_be_taken)

    def test_a_name_that_cannot_be_resolved_is_an_error_in_development_too(self, load: Load) -> None:
        settings = load("nowhere.invalid")
        assert {(finding.level, finding.path) for finding in findings(settings)} >= {
            ("error", "serve.public.host"),
            ("error", "serve.admin.host"),
        }
        with pytest.raises(PortTaken, match="neither an address nor a name"):
            require_ports(settings)
