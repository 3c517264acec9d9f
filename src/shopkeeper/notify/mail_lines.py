"""The lines of a mail: headers are left as they were written, and encoded only where they are not ASCII.

Python's own policies break every header at 78 characters, and turn a word that is longer, such as the address in
`List-Unsubscribe` or JSON in `X-SMTPAPI`, into an encoded word, which the reader of that header does not understand.
A line may have 998 characters (RFC 5322 section 2.1.1).
"""

import re
from email.generator import BytesGenerator
from email.header import Header
from email.headerregistry import UnstructuredHeader
from email.message import EmailMessage
from email.policy import EmailPolicy
from io import BytesIO
from itertools import groupby
from typing import Any, Final

LONGEST_LINE: Final = 998
"""Bytes of a line, without its line break."""
_LONGEST_ENCODED_WORD: Final = 75  # RFC 2047 section 2
_WORD: Final = re.compile(r" *[^ ]+(?: +$)?")


class MailPolicy(EmailPolicy):
    """Serializes headers in as few lines as possible."""

    def fold(self, name: str, value: Any) -> str:
        """Return a header as lines."""
        text = str(value)
        if not (self.utf8 or text.isascii()):
            if name.lower() == "subject" or not isinstance(value, UnstructuredHeader):
                return str(super().fold(name, value))
            text = encoded_words(text)
        return "\r\n".join((*_lines(f"{name}: {text}"), ""))

    def fold_binary(self, name: str, value: Any) -> bytes:
        """Return a header as the lines that are sent."""
        return self.fold(name, value).encode("utf-8")


# With 7-bit bodies the mail is the same bytes for every server, independent of its extensions.
POLICY: Final = MailPolicy(linesep="\r\n", cte_type="7bit")


def as_bytes(mail: EmailMessage, *, utf8: bool) -> bytes:
    """Return a mail as it is sent.

    With `utf8`, for servers with SMTPUTF8, headers may contain any character (RFC 6532).
    """
    with BytesIO() as written:
        BytesGenerator(written, policy=POLICY.clone(utf8=utf8)).flatten(mail)
        return written.getvalue()


def encoded_words(text: str) -> str:
    """Encode the words of a text that are not ASCII (RFC 2047), and leave the others as they are.

    >>> encoded_words("Söhne <https://shop.example/>")
    '=?utf-8?b?U8O2aG5l?= <https://shop.example/>'
    """
    runs = groupby(text.split(" "), key=str.isascii)
    return " ".join(" ".join(words) if is_plain else _encoded(" ".join(words)) for is_plain, words in runs)


def fits(name: str, value: str) -> bool:
    """Whether a header can be written in lines that are not too long: it may be broken at spaces only."""
    text = value if value.isascii() else encoded_words(value)
    return all(len(line.encode()) <= LONGEST_LINE for line in _lines(f"{name}: {text}"))


def _encoded(text: str) -> str:
    return Header(text, "utf-8", maxlinelen=_LONGEST_ENCODED_WORD).encode(linesep="\n").replace("\n", "")


def _lines(header: str) -> list[str]:
    """Break a header at spaces, where it is too long for one line."""
    if len(header.encode()) <= LONGEST_LINE:
        return [header]
    lines = [""]
    for word in _WORD.findall(header):
        if lines[-1] and len((lines[-1] + word).encode()) > LONGEST_LINE:
            lines.append("")
        lines[-1] += word
    return lines
