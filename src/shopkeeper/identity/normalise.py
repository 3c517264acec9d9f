"""Normalises identifiers and addresses to one spelling.

Names that look the same must be the same: capitals, full-width letters, invisible and direction characters must not
make a second account possible (modelled on RFC 8265 section 3.3). Letters are lowercased, not case-folded: folding
turns `straße.de` into `strasse.de`, which is another owner's domain. Stored and looked-up values are both normalised
here.
"""

import re
import unicodedata

import phonenumbers
from email_validator import EmailNotValidError, validate_email

LONGEST = 320
"""Maximum length in characters, before and after normalising. An e-mail address cannot be longer (RFC 3696, errata)."""

_ROUNDS = 8
_GROUPED_PHONE = re.compile(r"\+[0-9 ().-]+")
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_INVISIBLE = frozenset(
    (
        "\u034f",  # combining grapheme joiner
        "\u115f",  # Hangul fillers: letters without a glyph
        "\u1160",
        "\u3164",
        "\uffa0",
        "\u17b4",  # inherent Khmer vowels
        "\u17b5",
        *map(chr, range(0x180B, 0x1810)),  # Mongolian variation selectors
        *map(chr, range(0xFE00, 0xFE10)),  # variation selectors
        *map(chr, range(0xE0100, 0xE01F0)),  # and their supplement
    )
)


def normalise_identifier(text: str) -> str:
    """Return the spelling under which an identifier is stored and looked up.

    >>> normalise_identifier(" Ada@EXAMPLE.org ")
    'ada@example.org'
    >>> normalise_identifier("+49 170 1234567")
    '+491701234567'
    """
    plain = fold(text)
    if "@" in plain:
        return _canonical_email(plain)
    return _canonical_phone(plain) if plain.startswith("+") else plain


def normalise_prefix(text: str) -> str:
    """Return the spelling of the beginning of an identifier.

    >>> normalise_prefix("Ada@EX"), normalise_prefix("+49 170")
    ('ada@ex', '+49170')
    """
    plain = fold(text)
    return "+" + "".join(filter(str.isdecimal, plain)) if plain.startswith("+") and "@" not in plain else plain


def normalise_email(text: str) -> str:
    """Normalise an e-mail address; other text is lowercased and stripped of invisible characters."""
    return _canonical_email(fold(text))


def normalise_phone(text: str) -> str:
    """Normalise an international phone number to E.164; other text is lowercased and stripped of invisible characters.

    >>> normalise_phone("+49 (170) 1234567")
    '+491701234567'
    """
    return _canonical_phone(fold(text))


def is_exact(text: str) -> bool:
    """Return whether an address is its normalised spelling, but for what never makes it another owner's: capitals, the
    form of the domain, and how a phone number is grouped.

    Look-alikes share a spelling so that nobody gets a second account by them. They are other mailboxes all the same: a
    proof of `ｏwner@example.org` proves nothing of `owner@example.org`, so whatever grants something by an address asks
    this first.

    >>> is_exact("Owner@EXAMPLE.org"), is_exact("owner@xn--bcher-kva.example"), is_exact("ｏwner@example.org")
    (True, True, False)
    """
    if unicodedata.normalize("NFKC", text) != text or visible(text) != text:
        return False
    plain, normal = text.lower(), normalise_identifier(text)
    if "@" not in plain:
        return plain == normal or _GROUPED_PHONE.fullmatch(plain) is not None
    (mailbox, _, domain), (its_mailbox, _, its_domain) = plain.rpartition("@"), normal.rpartition("@")
    return mailbox == its_mailbox and (domain.isascii() or domain == its_domain)


def fold(text: str) -> str:
    """Lowercase and compose until nothing changes, because lowercasing and removing characters can undo composing."""
    for _ in range(_ROUNDS):
        folded = unicodedata.normalize("NFKC", visible(text)).lower().strip()
        if folded == text:
            break
        text = folded
    return text


def visible(text: str) -> str:
    """Return a text without invisible and direction characters.

    >>> visible("A\\u200bd\\u202ea")
    'Ada'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c for c in text if c not in _INVISIBLE and unicodedata.category(c) not in _INVISIBLE_CATEGORIES)


def _canonical_email(plain: str) -> str:
    """Use the Unicode form of domains: `xn--strae-oqa.de` and `straße.de` are the same."""
    try:
        address = validate_email(plain, check_deliverability=False, globally_deliverable=False, test_environment=True)
    except EmailNotValidError:
        return plain
    return fold(address.normalized)


def _canonical_phone(plain: str) -> str:
    try:
        number = phonenumbers.parse(plain, None)
    except phonenumbers.NumberParseException:
        return plain
    if not phonenumbers.is_possible_number(number):
        return plain
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
