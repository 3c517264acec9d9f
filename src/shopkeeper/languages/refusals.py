"""Refusals in the reader's language: by code, topic and parameters, never by sentence.

The catalogue `errors` has an entry for every code that shoppers can meet, and for every topic of it (`code/topic`).
What only operators read has none, and stays English. For the codes in `FOR_PROGRAMMERS` there is a general sentence;
what a refusal says beyond it, without a topic, is for programmers, and stays English too.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

from shopkeeper.errors import Refusal, Wording
from shopkeeper.languages.catalogues import read_catalogue
from shopkeeper.languages.choice import SOURCE

FOR_PROGRAMMERS: Final = frozenset(
    {
        "bad_request",
        "malformed_body",
        "body_incomplete",
        "unknown_field",
        "invalid_input",
        "invalid_page_token",
        "method_not_allowed",
        "headers_too_large",
        "address_too_long",
        "host_not_allowed",
        "not_implemented",
        "unsupported",
    }
)
"""Codes of mistakes in programs. Shoppers meet them where a program has one, or a link is broken."""
LONGEST_IN_SECONDS: Final = 90
"""A longer wait is told in minutes."""


def told(refusal: Refusal, language: str) -> str:
    """Return the most specific sentence of a refusal in a language; English where it has no translation."""
    if refusal.code in FOR_PROGRAMMERS and refusal.topic is None and _says_more(refusal):
        return refusal.sentence
    return sentence_of(refusal.wording, language) or refusal.sentence


def message_of(refusal: Refusal, language: str) -> str:
    """Return the general sentence of a refusal's code in a language; English where it has no translation."""
    if refusal.code in FOR_PROGRAMMERS and refusal.topic is None and refusal.message != type(refusal).message:
        return refusal.message
    return sentence_of(Wording(refusal.code, refusal.topic_of_class, refusal.parameters), language) or refusal.message


def sentence_of(wording: Wording, language: str) -> str | None:
    """Return a sentence in a language; None in English, and where there is no translation."""
    if language == SOURCE:
        return None
    sentences = _sentences(language)
    sentence = sentences.get(f"{wording.code}/{wording.topic}") if wording.topic else None
    sentence = sentence or sentences.get(wording.code)
    return sentence and sentence.format_map(_Values(wording.parameters, sentences))


def waiting_time(seconds: int, units: Mapping[str, str]) -> str:
    """Return a time to wait in words.

    Args:
        units: a text with the gap `count` for `wait/seconds`, and one for `wait/minutes`.

    >>> waiting_time(91, {"wait/seconds": "{count} s", "wait/minutes": "{count} min"})
    '2 min'
    """
    if seconds <= LONGEST_IN_SECONDS:
        return units["wait/seconds"].format(count=seconds)
    return units["wait/minutes"].format(count=-(-seconds // 60))


def headers_of(language: str) -> Mapping[str, str]:
    """Return the headers of a translated answer (RFC 9110 sections 8.5 and 12.5.5)."""
    return {} if language == SOURCE else {"Content-Language": language, "Vary": "Accept-Language"}


def _says_more(refusal: Refusal) -> bool:
    return refusal.sentence != type(refusal).message


class _Values(dict[str, Any]):
    """The values of a sentence's gaps; those that are words themselves are translated. A gap without a value stays."""

    def __init__(self, parameters: Mapping[str, Any], sentences: Mapping[str, str]) -> None:
        super().__init__(parameters)
        if "retry_after" in parameters:
            self["wait"] = waiting_time(int(parameters["retry_after"]), sentences)
        if "shortages" in parameters:
            self["shortages"] = _shortages(parameters["shortages"], sentences)

    def __missing__(self, key: str) -> str:
        return f"{{{key}}}"


def _shortages(lines: Iterable[Mapping[str, Any]], sentences: Mapping[str, str]) -> str:
    return "; ".join(sentences["shortage/left" if line["left"] else "shortage/none"].format(**line) for line in lines)


@cache
def _sentences(language: str) -> Mapping[str, str]:
    """Return the sentences of a language by code or `code/topic`."""
    return {str(entry.context): str(entry.string) for entry in read_catalogue(language, "errors") if entry.context}
