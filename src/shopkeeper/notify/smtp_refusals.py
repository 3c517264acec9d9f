"""What a mail server means by refusing a recipient or a mail: the mailbox, the mail, or us.

A refusal that is taken for a missing mailbox suppresses a customer's address for months, while our configuration or
our reputation may be the reason. So only what clearly speaks of the mailbox counts as one: an enhanced code (RFC 3463)
that says so or, without one, a text that does.
"""

import re
from typing import Final

_LONGEST: Final = 2000
_ENHANCED: Final = re.compile(r"(?:^\s*|\(#)5\.(\d{1,3}\.\d{1,3})\b", re.ASCII | re.MULTILINE)
"""At the start of a line, or in qmail's way: `(#5.1.1)`."""
_UNDEFINED: Final = frozenset({"0.0", "1.0"})
# Wrong mailbox, wrong host, wrong syntax, moved, no mail at this host; and a mailbox that is switched off.
_NO_MAILBOX: Final = frozenset({"1.1", "1.2", "1.3", "1.6", "1.10", "2.1"})
# The address of the sender, in two ways.
_SENDER: Final = frozenset({"1.7", "1.8"})
_SECURITY: Final = "7."
_MAY_BE_MAILBOX: Final = frozenset({550, 551, 553})
_NO_MAIL_HOST: Final = 556
_NOT_AUTHENTICATED: Final = frozenset({530, 534, 535, 538})

_ADDRESS: Final = re.compile(r"<[^<>]*>|\S*@\S*")
_ABOUT_US: Final = re.compile(
    r"relay(?! recipient)|rcpthosts|authenti|\bauth\b|authori[sz]|prohibit|polic(?:y|ies)|sender|\bspf\b|\bdkim\b"
    r"|\bdmarc\b|not permitted|not allowed|your (?:ip|host|server|network|domain)|block(?:ed|list)|black ?list",
    re.IGNORECASE,
)
_MAILBOX: Final = r"(?:user|mailbox|account|recipient|address)"
_NO_SUCH_MAILBOX: Final = re.compile(
    rf"no such {_MAILBOX}|no mailbox here|{_MAILBOX} (?:is |was )?(?:unknown|not found|unavailable)"
    rf"|(?:unknown|invalid) (?:local )?{_MAILBOX}|{_MAILBOX}\b[^.\n]{{0,80}} (?:does not|doesn't) exist",
    re.IGNORECASE,
)


def is_about_the_mailbox(code: int, text: str) -> bool:
    """Return whether the refusal of a recipient says that the mailbox does not exist."""
    if not 500 <= code < 600:
        return False
    if enhanced := _enhanced(text):
        return enhanced <= _NO_MAILBOX
    words = _words(text)
    if _ABOUT_US.search(words):
        return False
    return code == _NO_MAIL_HOST or (code in _MAY_BE_MAILBOX and _NO_SUCH_MAILBOX.search(words) is not None)


def is_about_us(code: int, text: str) -> bool:
    """Return whether a refusal is about our configuration or reputation, which an operator can repair."""
    if enhanced := _enhanced(text):
        if enhanced <= _NO_MAILBOX:
            return False
        if enhanced & _SENDER:
            return True
    return code in _NOT_AUTHENTICATED or _ABOUT_US.search(_words(text)) is not None


def is_about_security(text: str) -> bool:
    """Return whether the enhanced code is one of security or policy."""
    return any(code.startswith(_SECURITY) for code in _enhanced(text))


def _enhanced(text: str) -> set[str]:
    """Return the enhanced codes of an answer that say something, without their class."""
    return set(_ENHANCED.findall(text[:_LONGEST])) - _UNDEFINED


def _words(text: str) -> str:
    """Return what an answer says, without addresses, which may have any of the words in them."""
    return _ADDRESS.sub(" ", text[:_LONGEST])
