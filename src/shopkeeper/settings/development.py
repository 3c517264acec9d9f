"""Secrets for `--dev`, generated once and stored beside the database, so that sessions survive a restart."""

import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from shopkeeper.settings.dsn import Dsn
from shopkeeper.settings.files import read_text
from shopkeeper.settings.problems import Finding, Problem, SettingsError

FILE_NAME: Final = "dev-secrets.json"
_FOLDER: Final = Path("var")
_MADE: Final = ("default", "cookie", "cipher")


def fill_in(configured: Mapping[str, Any], *, dsn: Dsn, keep: bool = True) -> tuple[dict[str, Any], list[Finding]]:
    """Return the secrets, with generated ones for those that are missing, and findings about them.

    Without `keep`, stored secrets are used if there are any, and nothing is written.
    """
    missing = [
        name for name in _MADE if not configured.get(name) and not (name == "cookie" and configured.get("default"))
    ]
    if not missing:
        return dict(configured), []
    file = _file(dsn)
    made, how = _keep(file) if keep or file is None or file.exists() else _forget(file)
    sentence = (
        f"Not set: secrets.{', secrets.'.join(missing)}. --dev makes up what is missing, {how}; set your own elsewhere."
    )
    return {**configured, **{name: [made[name]] for name in missing}}, [Finding("notice", "secrets", sentence)]


def _file(dsn: Dsn) -> Path | None:
    """Return the file beside an SQLite database; None if sessions do not survive the process."""
    if dsn.kind == "memory":
        return None
    database = dsn.file
    return (database.parent if database else _FOLDER) / FILE_NAME


def _forget(file: Path) -> tuple[dict[str, str], str]:
    return _made_up(), f"here for this command only, and the server keeps its own in {file}"


def _made_up() -> dict[str, str]:
    return {name: secrets.token_hex(16) for name in _MADE}


def _keep(file: Path | None) -> tuple[dict[str, str], str]:
    made = _made_up()
    if file is None:
        return made, "for this process only, so that sessions end with it"
    try:
        _write_first(file, json.dumps(made))
    except OSError:
        if not file.exists():
            return made, f"for this process only, as {file} cannot be written, so that sessions end with it"
    return _read(file), f"and keeps them in {file}"


def _write_first(file: Path, text: str) -> None:
    """Write a file that only its owner can read, completely or not at all. Raises `FileExistsError` if it exists."""
    if file.exists():
        raise FileExistsError
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as draft:
            draft.write(text)
        os.link(name, file)
    finally:
        Path(name).unlink(missing_ok=True)


def _read(file: Path) -> dict[str, str]:
    try:
        kept = json.loads(read_text(file))
        return {name: str(kept[name]) for name in _MADE}
    except (json.JSONDecodeError, KeyError, TypeError) as broken:
        sentence = f"{file} does not hold the secrets of --dev; delete it, and a new one is made."
        raise SettingsError([Problem(str(file), sentence)]) from broken
