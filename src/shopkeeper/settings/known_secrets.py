"""Published secrets: those of manuals, quickstarts and examples, and those of our own documentation."""

import hashlib
import itertools
import re
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
    }
)
"""Secrets of our own documentation that look random: README.md and docs/howto."""
_BLANKS: Final = ("", " ", "\t", "\n", "\r", "\0")
BLANK_DIGESTS: Final = frozenset(
    hashlib.sha256("".join(blank).encode()).hexdigest() for blank in itertools.product(_BLANKS, repeat=3)
)
"""SHA-256 of nothing and of up to three blanks: what is made of an empty file, with or without a line break."""
PRINTED_DIGESTS: Final = frozenset(hashlib.sha256(secret.encode()).hexdigest() for secret in PRINTED)


def is_published(secret: str) -> bool:
    """Return whether a secret has been published.

    >>> is_published("PLEASE-CHANGE-ME-I-AM-VERY-INSECURE"), is_published("9f3c1b7ae2d0485f")
    (True, False)
    """
    return secret in PRINTED or _WORDS.search(secret) is not None
