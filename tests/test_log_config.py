"""The log of a server."""

import io
import sys
from pathlib import Path

import pytest
import structlog

from shopkeeper.log_config import configure_log
from shopkeeper.settings import load

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("style", ["json", "text"])
def test_a_line_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch, style: str) -> None:
    """Regression: with the log on the disk that was full, every request was a 500."""
    with FULL.open("wb", buffering=0) as full:
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(full, write_through=True))
        configure_log(load([], {"LOG_FORMAT": style, "DSN": "memory"}, dev=True, demo=False).log)
        log = structlog.get_logger("shopkeeper.test")
        for _ in range(100):
            log.info("request", path="/" * 100)
        with pytest.raises(OSError, match="No space left"):
            full.write(b"\n")
