"""Whether files have changed.

Their state is looked at rather than announced: it is the only way that notices a change on every file system, by every
editor, and by Kubernetes, which swaps a symbolic link above the file.
"""

import contextlib
import hashlib
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shopkeeper.settings.files import LARGEST

COARSE: Final = 2.0
"""Seconds in which two changes may get one time stamp, on the coarsest file systems."""


@dataclass(frozen=True, slots=True)
class FileState:
    """The state of a file. `content` is a digest, where the time stamp is too young to tell the next change."""

    stat: tuple[int, ...]
    content: bytes | None

    def differs(self, other: "FileState") -> bool:
        """Whether the file has changed between two looks."""
        both = self.content is not None and other.content is not None
        return self.stat != other.stat or (both and self.content != other.content)


Look = Mapping[Path, FileState]
"""The states of several files."""


def look_at(file: Path) -> FileState:
    """Return the state of a file; a missing one has a state, too."""
    try:
        found = file.stat()
    except OSError as missing:
        return FileState((-1, missing.errno or 0), None)
    numbers = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    if not stat.S_ISREG(found.st_mode):  # a folder changes with its list of files; a pipe cannot be read twice
        return FileState(numbers if stat.S_ISDIR(found.st_mode) else numbers[:2], None)
    young = abs(time.time() - max(found.st_mtime, found.st_ctime)) < COARSE
    return FileState(numbers, content_of(file) if young else None)


def changed(one: Look, other: Look) -> bool:
    """Return whether any file has changed between two looks."""
    return one.keys() != other.keys() or any(state.differs(other[file]) for file, state in one.items())


def content_of(file: Path) -> bytes | None:
    """Return a digest of a file, of as much as a configuration may have; None if it is unreadable or no file."""
    with contextlib.suppress(OSError):
        if file.is_file():
            with file.open("rb") as opened:
                return hashlib.sha256(opened.read(LARGEST)).digest()
    return None
