"""Where settings come from: the files, and the revision of what they say."""

import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from shopkeeper.settings.describe import describe
from shopkeeper.settings.file_state import content_of
from shopkeeper.settings.root import Settings

_FILE: Final = "file://"


def files_of(settings: Settings) -> Sequence[Path]:
    """Return every file that the settings depend on: configuration, secrets, and identity schemas."""
    schemas = [schema.url for schema in settings.identity.schemas if schema.url.startswith(_FILE)]
    places = [Path(unquote(url.removeprefix(_FILE))).expanduser() for url in schemas]
    return list(dict.fromkeys([*settings.remarks.files, *places]))


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
