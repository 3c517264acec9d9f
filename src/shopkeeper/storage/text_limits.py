"""What a database can keep."""


def storable(text: str) -> bool:
    """Whether both databases can hold a text; one that they cannot hold names nothing that is in them.

    PostgreSQL refuses NUL characters, and neither takes halves of surrogate pairs, which JSON can spell.

    >>> storable("A\\x00"), storable("\\ud800"), storable("Ä")
    (False, False, True)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text
