"""What pages say about refusals: a sentence for customers, which is translated, in place of the refusal's own.

A stored error and a message of a form have the refusal's English sentence only, as programs get it. Its kind and the
seconds to wait are read from that sentence.
"""

import re
from collections.abc import Mapping
from typing import Final

from shopkeeper.errors import Busy, IdentityDisabled, TooManyRequests

SENTENCES: Final[Mapping[str, str]] = {
    TooManyRequests.code: "That was a little too often. Try again in {wait}.",
    Busy.code: "The shop has more to do than it can. Try again in {wait}.",
    IdentityDisabled.code: "Only the shop can switch it on again. Please ask its customer service.",
}
"""The sentence of a refusal's code. `{wait}` is a time in `SECONDS` or `MINUTES`."""
SOON: Final = "Please try again in a moment."
"""For a refusal that says to wait, but not how long."""
SECONDS: Final = "{count} s"
MINUTES: Final = "{count} min"

_LONGEST_IN_SECONDS: Final = 90
_WAIT = re.compile(r" Try again in ([0-9]{1,9}) seconds?\.$")
# The contract leaves the code out of some errors; the message is then what tells them apart.
_CODES = {kind.message: kind.code for kind in (TooManyRequests, Busy, IdentityDisabled)}


def code_of(error: Mapping[str, object]) -> str:
    """Return the code of a stored error; empty where it is unknown."""
    return str(error.get("id") or _CODES.get(str(error.get("message")), ""))


def code_in(sentence: str) -> str:
    """Return the code of the refusal whose sentence says how long to wait; empty for any other text."""
    return _CODES.get(_WAIT.sub("", sentence), "") if _WAIT.search(sentence) else ""


def wait_in(sentence: str) -> tuple[str, int] | None:
    """Return the wait in a refusal's sentence: `SECONDS` or `MINUTES`, and how many. None where there is none.

    >>> wait_in("Too many attempts. Try again in 2158 seconds.")
    ('{count} min', 36)
    """
    found = _WAIT.search(sentence)
    if found is None:
        return None
    seconds = int(found[1])
    return (SECONDS, seconds) if seconds <= _LONGEST_IN_SECONDS else (MINUTES, -(-seconds // 60))
