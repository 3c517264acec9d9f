"""One spelling for everything that somebody signs in with or is reached by.

What looks the same has to be the same: capitals, full-width letters, invisible and direction characters must not make
a second account out of one name (RFC 8265 section 3.3 is the model). Letters are lowered, not folded: folding turns
`straße.de` into `strasse.de`, which belongs to somebody else. What is stored and what is looked up both pass here.
"""

import unicodedata

import phonenumbers
from email_validator import EmailNotValidError, validate_email

LONGEST = 320
"""Characters in an identifier or address, before and after. An e-mail address cannot have more (RFC 3696, errata)."""

_ROUNDS = 8
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_INVISIBLE = frozenset(
    (
        "\u034f",  # combining grapheme joiner
        "\u115f",  # Hangul fillers: letters that draw nothing
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
    """The spelling under which an identifier is stored and looked up.

    >>> normalise_identifier(" Ada@EXAMPLE.org ")
    'ada@example.org'
    >>> normalise_identifier("+49 170 1234567")
    '+491701234567'
    """
    plain = _fold(text)
    if "@" in plain:
        return _canonical_email(plain)
    return _canonical_phone(plain) if plain.startswith("+") else plain


def normalise_email(text: str) -> str:
    """The one spelling of an e-mail address; what is none comes back in lower case and without invisible characters."""
    return _canonical_email(_fold(text))


def normalise_phone(text: str) -> str:
    """The number in E.164, where it can be read as an international number.

    >>> normalise_phone("+49 (170) 1234567")
    '+491701234567'
    """
    return _canonical_phone(_fold(text))


def _fold(text: str) -> str:
    """Lowering can undo composing, and removing can make new pairs to compose: so again until nothing changes."""
    for _ in range(_ROUNDS):
        folded = unicodedata.normalize("NFKC", _visible(text)).lower().strip()
        if folded == text:
            break
        text = folded
    return text


def _visible(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(c for c in text if c not in _INVISIBLE and unicodedata.category(c) not in _INVISIBLE_CATEGORIES)


def _canonical_email(plain: str) -> str:
    """Domains in Unicode: `xn--strae-oqa.de` and `straße.de` are one."""
    try:
        address = validate_email(plain, check_deliverability=False, globally_deliverable=False, test_environment=True)
    except EmailNotValidError:
        return plain
    return _fold(address.normalized)


def _canonical_phone(plain: str) -> str:
    try:
        number = phonenumbers.parse(plain, None)
    except phonenumbers.NumberParseException:
        return plain
    if not phonenumbers.is_possible_number(number):
        return plain
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
