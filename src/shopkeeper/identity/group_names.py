"""The names of groups: one form for what administrators, providers and rules write.

A name fits the key of a customer group of commercetools (`[A-Za-z0-9_-]`, 2 to 256 characters) and the `displayName` of
SCIM (RFC 7643, section 4.2). It has no upper case, because directories do not tell groups apart by it.
"""

import hashlib
import re
import unicodedata
from functools import lru_cache
from typing import Final

LONGEST_GROUP_NAME: Final = 128
"""Characters of a name."""
LONGEST_GROUP_TEXT: Final = 256
"""Characters of what a provider calls a group, and of the name that people read."""
GROUP_NAME_PATTERN: Final = rf"[a-z0-9_-]{{2,{LONGEST_GROUP_NAME}}}"

_NAME: Final = re.compile(GROUP_NAME_PATTERN, re.ASCII)
_OTHERS: Final = re.compile(r"[^a-z0-9_-]+", re.ASCII)
_DIGEST_LENGTH: Final = 16


def is_group_name(text: str) -> bool:
    """Return whether a text is the name of a group as it is stored."""
    return _NAME.fullmatch(text) is not None


def readable(text: str) -> bool:
    """Return whether a text can be what a group is called: bounded, not blank, without control characters."""
    return 0 < len(text) <= LONGEST_GROUP_TEXT and not text.isspace() and text.isprintable()


@lru_cache(maxsize=10_000)
def group_name_of(text: str) -> str:
    """Return the name of the group that a provider or a rule calls `text`, which is `readable`.

    A text that is no name, such as a path or one with spaces, becomes one with a digest of the text at its end. So
    texts that differ in more than upper and lower case never lead to the same name.

    >>> group_name_of("Wholesale")
    'wholesale'
    >>> group_name_of("/shop/Admins"), group_name_of("shop admins")
    ('shop-admins-317909d31660e0f5', 'shop-admins-51abbb02de85e2ee')
    """
    stripped = text.strip()
    # Only ASCII is lowered here: characters such as the Kelvin sign would become a letter of another group's name.
    if stripped.isascii() and _NAME.fullmatch(stripped.lower()):
        return stripped.lower()
    folded = unicodedata.normalize("NFC", stripped).casefold()
    digest = hashlib.sha256(folded.encode()).hexdigest()[:_DIGEST_LENGTH]
    ascii_only = unicodedata.normalize("NFKD", folded).encode("ascii", "ignore").decode()
    slug = _OTHERS.sub("-", ascii_only).strip("-_")[: LONGEST_GROUP_NAME - _DIGEST_LENGTH - 1].strip("-_")
    return f"{slug or 'group'}-{digest}"
