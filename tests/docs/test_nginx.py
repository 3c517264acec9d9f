"""The examples for nginx, read by a real nginx."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

PAGES = [ROOT / "docs" / "howto" / name for name in ("production.md", "gateways.md")]
BLOCKS = [part.partition("```")[0] for page in PAGES for part in page.read_text("utf-8").split("```nginx\n")[1:]]
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split()[0])
def test_an_example_for_nginx_is_one(block: str, tmp_path: Path) -> None:
    site = block if "server {" in block else f"server {{ listen 8080; {block} }}"
    file = tmp_path / "nginx.conf"
    file.write_text(f"pid {tmp_path}/pid; error_log {tmp_path}/log; events {{}} http {{ access_log off; {site} }}")
    done = subprocess.run([str(NGINX), "-t", "-p", tmp_path, "-c", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
