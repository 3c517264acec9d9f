"""Published secrets: those of manuals, quickstarts and examples, and those of our own documentation."""

import functools
import hashlib
import itertools
import re
from collections.abc import Iterator
from typing import Final

# Words in the secrets of examples.
_WORDS: Final = re.compile(
    r"change[-_ ]?(me|this|it)|please|not[-_ ]?secure|insecure|very[-_ ]?bad|of[-_]some[-_]length|of[-_]\d+[-_]char"
    r"|example|sample|default|placeholder|your[-_]|my[-_]?secret|s3cr3t|password|1234567|abcdefg|qwerty|lorem"
    r"|random[-_ ]?char|at[-_ ]least[-_ ]",
    re.IGNORECASE,
)
PRINTED: Final = frozenset(
    {
        "openssl-rand-hex-32-makes-a-good-one-of-these",
        "c2b5c1d7f3a94e60",
        "4d7c20ae91b35f68",
        "5f1e0d9b7a3c48f6b2d4e8a0c6f17395",
        "08c1f94e6b2d7a53e0f18b6c4d29a57e",
        "fec4125882aaf92b5105eb597652604e21aa602ae0bfa85107e81698edab4224",
        "Bearer 0f6c1e7d52b94a38c7d1e90b5a64f283",
    }
)
"""Secrets of our own documentation that look random: README.md and docs/howto."""
_BLANKS: Final = ("", " ", "\t", "\n", "\r", "\0")
# White space of Unicode, and what is as invisible: the zero-width space, joiners, and the byte order mark.
_INVISIBLE: Final = (
    *(chr(code) for code in range(0x3001) if chr(code).isspace()),
    *("\0", "\u180e", "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff"),
)
_LONGEST_BLANK: Final = 64
_PLACEHOLDERS: Final = ("null", "None", "nil", "undefined", "NaN", "none", "{}", "[]", '""', "''", "false", "changeme")
_LINE_ENDS: Final = ("", "\n", "\r\n")


def _nothings() -> Iterator[str]:
    """Yield what programs write in place of a key that is missing."""
    yield from ("".join(blanks) for blanks in itertools.product(_BLANKS, repeat=3))
    for blank in _INVISIBLE:
        yield from (blank * length + end for length in range(1, _LONGEST_BLANK + 1) for end in _LINE_ENDS)
    for word in _PLACEHOLDERS:
        yield from (form + end for form in (word, word.upper(), word.capitalize()) for end in _LINE_ENDS)


@functools.cache
def digests_of_nothing() -> frozenset[str]:
    """Return the SHA-256 of nothing, of one blank up to 64 times, and of what programs write for a missing value."""
    return frozenset(hashlib.sha256(nothing.encode()).hexdigest() for nothing in _nothings())


PRINTED_DIGESTS: Final = frozenset(hashlib.sha256(secret.encode()).hexdigest() for secret in PRINTED)


def is_published(secret: str) -> bool:
    """Return whether a secret has been published.

    >>> is_published("PLEASE-CHANGE-ME-I-AM-VERY-INSECURE"), is_published("9f3c1b7ae2d0485f")
    (True, False)
    """
    return secret in PRINTED or _WORDS.search(secret) is not None
