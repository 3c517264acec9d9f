"""The rules for a new password (NIST SP 800-63B-4 section 3.1.1.2, OWASP ASVS 5.0 section 6.2): long enough, unlike the
account's own identifiers, and not known to attackers. There are no rules about its characters.

A password is taken exactly as it was typed: no trimming, no change of case, no normalisation of Unicode. NIST suggests
normalising. Kratos does not, so imported hashes were made of the text as it came, and ASVS 6.2.8 asks for exactly that.
Keyboards send composed characters, so little is lost. Lengths count code points.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from shopkeeper.credentials.breached import BreachedPasswords
from shopkeeper.credentials.hashes import MAX_PASSWORD_BYTES
from shopkeeper.ui.messages import Message, because, message

MAX_LENGTH: Final = 1024
EDITS: Final = 5
COMPARED_BYTES: Final = 256


class PasswordPolicy:
    """Checks new passwords. Only the first broken rule is reported, because fixing it often fixes the next.

    Args:
        min_length: the fewest code points.
        max_length: the most; never so many that a password could not be hashed.
        similarity: whether a password may not be like the identifiers.
        breached: the sources of known passwords, nearest first.
        context_words: words associated with the shop, such as its name; a password may not be like them.
    """

    def __init__(
        self,
        *,
        min_length: int = 8,
        max_length: int = MAX_LENGTH,
        similarity: bool = True,
        breached: Sequence[BreachedPasswords] = (),
        context_words: Iterable[str] = (),
    ) -> None:
        # A code point has four bytes at most.
        if not 1 <= min_length <= max_length <= MAX_PASSWORD_BYTES // 4:
            raise ValueError(
                f"password lengths must be within 1 and {MAX_PASSWORD_BYTES // 4}, the least not above the most"
            )
        self._min_length, self._max_length = min_length, max_length
        self._similarity, self._breached = similarity, tuple(breached)
        self._context_words = tuple(context_words)

    async def check(self, password: str, *, identifiers: Iterable[str]) -> list[Message]:
        """Return the message of the first rule that the password breaks; an empty list where it may be used.

        Raises `UpstreamFailed` where a service that must be asked does not answer.
        """
        broken = self._length(password) or self._likeness(password, identifiers) or await self._known(password)
        return [broken] if broken else []

    def close(self) -> None:
        """Close the sources."""
        for source in self._breached:
            source.close()

    def _length(self, password: str) -> Message | None:
        length = len(password)
        if length < self._min_length:
            return message(4000032, min_length=self._min_length, actual_length=length)
        if length > self._max_length:
            return message(4000033, max_length=self._max_length, actual_length=length)
        return None

    def _likeness(self, password: str, identifiers: Iterable[str]) -> Message | None:
        if self._similarity and any(alike(password, identifier) for identifier in identifiers):
            return message(4000031)
        if any(alike(password, word) for word in self._context_words):
            return because(4000005, "shop_word", "it is too much like a word that everybody connects with this shop")
        return None

    async def _known(self, password: str) -> Message | None:
        for source in self._breached:
            breaches = await source.breaches(password)
            if breaches:
                return message(4000034, breaches=breaches)
        return None


def alike(password: str, word: str) -> bool:
    """Return whether a password is like a word, ignoring case: fewer than five edits apart, or sharing more than half
    of the password in one piece. Very long texts are not compared.

    >>> alike("ada@example.org1", "ada@example.org"), alike("Plum-Tart-93", "ada@example.org")
    (True, False)
    """
    one, other = password.lower(), word.lower()
    if not other or max(len(text.encode("utf-8", "surrogatepass")) for text in (one, other)) > COMPARED_BYTES:
        return False
    return _shares_more_than_half(one, other) or _near(one, other)


def _shares_more_than_half(password: str, word: str) -> bool:
    size = len(password) // 2 + 1
    return any(password[start : start + size] in word for start in range(len(password) - size + 1))


def _near(one: str, other: str, *, edits: int = EDITS) -> bool:
    """Return whether the Levenshtein distance is less than `edits`; only the cells near the diagonal can matter."""
    if abs(len(one) - len(other)) >= edits:
        return False
    row = [min(column, edits) for column in range(len(other) + 1)]
    for line, letter in enumerate(one, start=1):
        above, row = row, [min(line, edits)] + [edits] * len(other)
        for column in range(max(1, line - edits), min(len(other), line + edits) + 1):
            replaced = above[column - 1] + (letter != other[column - 1])
            row[column] = min(replaced, above[column] + 1, row[column - 1] + 1, edits)
    return row[-1] < edits
