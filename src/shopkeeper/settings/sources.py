"""Where settings come from: the files, and the revision of what they say."""

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from shopkeeper.settings.describe import describe
from shopkeeper.settings.file_state import Look, content_of, look_at
from shopkeeper.settings.root import Settings

_FILE: Final = "file://"
MOST_TEMPLATES: Final = 1000
"""Files of a folder of mail templates that are watched; there are about fifty to write."""


def files_of(settings: Settings) -> Sequence[Path]:
    """Return every file that the settings depend on: configuration, secrets, `file://` addresses such as those of
    identity schemas, certificates, and the folder of mail templates with what is in it."""
    smtp, folder = settings.courier.smtp, settings.courier.template_override_path
    places = [Path(unquote(url.removeprefix(_FILE))).expanduser() for url in _file_urls(settings.model_dump())]
    named = [Path(path) for path in (smtp.client_cert_path, smtp.client_key_path) if path is not None]
    return list(dict.fromkeys([*settings.remarks.files, *places, *named, *(_below(folder) if folder else ())]))


def look_at_files_of(settings: Settings) -> Look:
    """Return the states of these files; of those that were read already, their states before that."""
    return {**{file: look_at(file) for file in files_of(settings)}, **settings.remarks.files}


def _file_urls(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value.startswith(_FILE):
        yield value
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    for each in inner:
        yield from _file_urls(each)


def _below(folder: str) -> Iterator[Path]:
    """Yield a folder and what is in it: a folder changes when a file is added."""
    yield Path(folder)
    yield from islice(sorted(Path(folder).rglob("*")), MOST_TEMPLATES)


def revision_of(settings: Settings) -> str:
    """Return the name of a configuration: its `revision`, or else a hash that changes with every change of a file.

    The hash is keyed: otherwise it would tell whether a guess at a weak secret is right.
    """
    if settings.revision is not None:
        return settings.revision
    key = "\0".join(("revision", *settings.secrets.for_all_else()[:1]))
    hashed = hmac.new(key.encode(), digestmod=hashlib.sha256)
    for name, value in describe(settings):
        hashed.update(f"{name}={value}\0".encode())
    for file in files_of(settings):
        hashed.update(content_of(file) or b"-")
    return hashed.hexdigest()
