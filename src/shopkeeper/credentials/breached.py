"""Passwords that attackers try first: the common ones, those in a file of the shop's own, and those in known breaches.

The three sources share one small protocol. The service is asked by the k-anonymity range protocol of Pwned Passwords:
it learns five of the forty digits of a SHA-1 and nothing else, and its answer is padded so that its size reveals
nothing.

`common_passwords.txt` is the part of zxcvbn's frequency list with eight or more characters, 11,611 passwords, most
frequent first; its licence is beside it. OWASP ASVS 5.0 asks for the first 3,000 (6.2.4).
"""

import asyncio
import hashlib
import re
from collections import OrderedDict
from datetime import datetime, timedelta
from importlib import resources
from os import pread
from pathlib import Path
from typing import Final, Protocol

import structlog

from shopkeeper.clock import Clock
from shopkeeper.errors import UpstreamFailed
from shopkeeper.http_client import GuardedClient, HttpCallFailed
from shopkeeper.identity.normalise import normalise_identifier

log = structlog.get_logger(__name__)

PWNED_PASSWORDS: Final = "api.pwnedpasswords.com"
PREFIX: Final = 5
HASH_DIGITS: Final = 40
KEPT_RANGES: Final = 50
KEPT_FOR: Final = timedelta(hours=1)
LARGEST_PLAIN_LIST: Final = 64 * 1024 * 1024
LONGEST_LINE: Final = 128


class BreachedPasswords(Protocol):
    """A source of passwords that must not be used."""

    async def breaches(self, password: str) -> int:
        """Return how often the password was seen in breaches; 0 where it was not, or not often enough to matter."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


class CommonPasswords:
    """The built-in list, for every shop, with or without a network. Ignores case and Unicode forms. A single repeated
    character counts as listed, and so does a password without visible characters.
    """

    def __init__(self) -> None:
        text = resources.files("shopkeeper.credentials").joinpath("common_passwords.txt").read_text("ascii")
        self._known = frozenset(text.split())

    async def breaches(self, password: str) -> int:
        plain = normalise_identifier(password)
        return int(bool(password) and (len(set(plain)) < 2 or plain in self._known))

    def close(self) -> None:
        """Do nothing: nothing is open."""


class BreachedRange:
    """A service that speaks the range protocol: Pwned Passwords, or a mirror of it.

    Args:
        http_client: the guarded client.
        clock: decides when a cached answer is too old.
        host: the service's name, with a port if it has one of its own; it is called by https.
        max_breaches: how often a password may have been seen and still be used.
        ignore_network_errors: whether a password passes when the service does not answer.
        timeout: seconds to wait for it.
    """

    def __init__(
        self,
        http_client: GuardedClient,
        clock: Clock,
        *,
        host: str = PWNED_PASSWORDS,
        max_breaches: int = 0,
        ignore_network_errors: bool = True,
        timeout: float = 1.0,
    ) -> None:
        self._outgoing, self._clock, self._host = http_client, clock, host
        self._max_breaches, self._ignore_errors, self._timeout = max_breaches, ignore_network_errors, timeout
        self._kept: OrderedDict[str, tuple[datetime, bytes]] = OrderedDict()
        self.unanswered = 0
        """How many passwords passed since the start because the service did not answer."""

    async def breaches(self, password: str) -> int:
        """See `BreachedPasswords`. Raises `UpstreamFailed` where a missing answer is not to be ignored."""
        digits = _sha1(password)
        try:
            listed = await self._range(digits[:PREFIX])
        except UpstreamFailed as silent:
            log.warning("breached_passwords.unanswered", reason=silent.detail)
            if not self._ignore_errors:
                # Which server it is, and where, belongs in the log: the person who signs up is a stranger.
                raise UpstreamFailed(
                    reason="The password cannot be checked now; try again later.", topic="password_check"
                ) from silent
            self.unanswered += 1
            return 0
        seen = _count_in(listed, digits[PREFIX:])
        return seen if seen > self._max_breaches else 0

    def close(self) -> None:
        """Do nothing: the client is shared, and its owner closes it."""

    async def _range(self, prefix: str) -> bytes:
        kept = self._kept.get(prefix)
        if kept is not None and self._clock.now() - kept[0] < KEPT_FOR:
            self._kept.move_to_end(prefix)
            return kept[1]
        listed = await self._ask(prefix)
        self._kept[prefix] = (self._clock.now(), listed)
        self._kept.move_to_end(prefix)
        while len(self._kept) > KEPT_RANGES:
            self._kept.popitem(last=False)
        return listed

    async def _ask(self, prefix: str) -> bytes:
        reply = await self._outgoing.request(
            "GET", f"https://{self._host}/range/{prefix}", headers={"Add-Padding": "true"}, timeout=self._timeout
        )
        if reply.status != 200:
            raise HttpCallFailed(f"{self._host} answered with status {reply.status}.")
        return reply.body


class UnusableList(ValueError):
    """The file of passwords cannot be used; the sentence gives the reason and the remedy."""


class PlainList:
    """A file with one password per line, held in memory."""

    def __init__(self, path: Path) -> None:
        if path.stat().st_size > LARGEST_PLAIN_LIST:
            raise UnusableList(
                f"{path} is too large to be held in memory; make it a list of SHA-1 hashes in upper case, sorted, "
                "one HASH:COUNT per line, which is searched on the disk."
            )
        lines = path.read_text("utf-8", errors="replace").split("\n")
        self._known = frozenset(line.removesuffix("\r") for line in lines) - {""}

    async def breaches(self, password: str) -> int:
        return int(password in self._known or password.lower() in self._known)

    def close(self) -> None:
        """Do nothing: nothing is open."""


class SortedHashes:
    """A file of `SHA1:COUNT` lines in the order of the hashes, of any size, searched on the disk.

    The download of Pwned Passwords, ordered by hash, has this form.
    """

    def __init__(self, path: Path, *, max_breaches: int = 0) -> None:
        self._file = path.open("rb", buffering=0)
        self._size = path.stat().st_size
        self._max_breaches = max_breaches
        try:
            self._check_order(path)
        except UnusableList:
            self.close()
            raise

    async def breaches(self, password: str) -> int:
        seen = await asyncio.to_thread(self._count, _sha1(password).encode())
        return seen if seen > self._max_breaches else 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _count(self, wanted: bytes) -> int:
        """Search by bisection: halve the part of the file in which the wanted line could begin."""
        low, high = 0, self._size
        while low < high:
            middle = (low + high) // 2
            start, line = self._line_from(middle)
            found = line[:HASH_DIGITS].upper()
            if start >= high or found > wanted:
                high = middle
            elif found < wanted:
                low = start + len(line)
            else:
                return int(line[HASH_DIGITS + 1 :].strip() or 1)
        return 0

    def _line_from(self, offset: int) -> tuple[int, bytes]:
        """Return the first line that begins at or after an offset, and its offset; an empty line at the end of the
        file."""
        before = max(offset - 1, 0)
        block = pread(self._file.fileno(), 2 * LONGEST_LINE, before)
        skipped = block.find(b"\n") + 1 if offset else 0
        if offset and not skipped:
            return self._size, b""
        end = block.find(b"\n", skipped) + 1 or len(block)
        return before + skipped, block[skipped:end]

    def _check_order(self, path: Path) -> None:
        """Check 64 lines, enough to detect a file in another order or of another kind. Raises `UnusableList`."""
        last = b""
        for step in range(64):
            _, line = self._line_from(self._size * step // 64)
            if line and not _HASH_LINE.fullmatch(line.strip()):
                raise UnusableList(f"{path} has a line that is not HASH:COUNT.")
            if line and line[:HASH_DIGITS].upper() < last:
                raise UnusableList(f"{path} is not in the order of its hashes; sort it, for example with 'sort'.")
            last = line[:HASH_DIGITS].upper() or last


_HASH_LINE: Final = re.compile(rb"[0-9A-Fa-f]{40}(:[0-9]{1,18})?")


def open_list(path: Path, *, max_breaches: int = 0) -> SortedHashes | PlainList:
    """Open a file of breached passwords; its first line shows which kind it is. Raises `UnusableList` or `OSError`."""
    with path.open("rb") as file:
        first = file.readline(LONGEST_LINE).strip()
    return SortedHashes(path, max_breaches=max_breaches) if _HASH_LINE.fullmatch(first) else PlainList(path)


def _sha1(password: str) -> str:
    raw = password.encode("utf-8", "surrogatepass")
    return hashlib.sha1(raw, usedforsecurity=False).hexdigest().upper()


def _count_in(listed: bytes, suffix: str) -> int:
    found = re.search(rb"^" + suffix.encode() + rb":([0-9]{1,18})\s*$", listed, re.MULTILINE | re.IGNORECASE)
    return int(found[1]) if found else 0
