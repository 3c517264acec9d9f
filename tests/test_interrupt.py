"""Ctrl+C while the command still imports its modules."""

import signal
import subprocess
import sys


def test_ctrl_c_while_the_command_starts_ends_it_quietly() -> None:
    """Regression: it printed a traceback. The report of the imports shows when they have begun; its pipe is so small
    that they cannot end unread."""
    command = [sys.executable, "-X", "importtime", "-m", "shopkeeper", "serve"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, pipesize=4096) as starting:
        assert starting.stderr is not None
        assert any("structlog" in line for line in starting.stderr)
        starting.send_signal(signal.SIGINT)
        rest = starting.stderr.read().splitlines()
    assert starting.returncode == 130
    assert [line for line in rest if not line.startswith("import time:")] == []
