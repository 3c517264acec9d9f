"""What text a database can store."""


def storable(text: str) -> bool:
    """Whether both databases can store a text. A text that they cannot store matches no row.

    PostgreSQL rejects NUL characters, and neither database accepts lone surrogates, which JSON can express.

    >>> storable("A\\x00"), storable("\\ud800"), storable("Ä")
    (False, False, True)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text
