"""Refusals: every code that shoppers meet has German and Spanish, and is translated by code, topic and parameters."""

import ast
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import shopkeeper.app.application  # noqa: F401 - all refusals are known when it is imported
from shopkeeper.commerce.errors import OutOfStock, Shortage
from shopkeeper.errors import InvalidInput, MalformedBody, Refusal, SessionInactive, TooManyRequests, Wording
from shopkeeper.graphql.errors import told as graphql_error
from shopkeeper.http.responses import error_object
from shopkeeper.languages.catalogues import read_catalogue
from shopkeeper.languages.choice import LANGUAGES, SOURCE
from shopkeeper.languages.refusals import sentence_of, told
from shopkeeper.ui.messages import FORM

TRANSLATED = [language for language in LANGUAGES if language != SOURCE]
GAP = re.compile(r"\{\w+\}")
WORDS = {"wait/seconds", "wait/minutes", "shortage/left", "shortage/none"}
"""What fills the gaps of other sentences."""
NOBODY_READS = {"refused", "persisted_query_not_supported"}
"""The class above all others, and what a client answers by itself."""
FOR_OPERATORS = {
    *("admin_key_required", "admin_scope_missing", "outgoing_failed", "outgoing_refused", "address_refused"),
    *("signing_key_unreadable", "precondition_failed"),
    *("tokenize_as_unknown", "tokenize_as_without_subject", "tokenizer_failed"),
}


def entries(language: str) -> dict[str, tuple[str, str]]:
    """Return English and translation by code or `code/topic`."""
    return {str(e.context): (str(e.id), str(e.string)) for e in read_catalogue(language, "errors") if e.context}


def classes(above: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    for kind in above.__subclasses__():
        if kind.__module__.startswith("shopkeeper."):
            yield kind
            yield from classes(kind)


def topics() -> set[str]:
    """Return every topic that the sources name: `topic="…"` of a refusal, and the argument of `reason` and its like."""
    by_name = {kind.__name__: kind for kind in classes()}
    found = {f"{kind.code}/{kind.topic}" for kind in classes() if kind.topic}
    for source in Path(str(files("shopkeeper"))).rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                found |= set(_topics_in(node, node.func.id, by_name))
    return found


def _topics_in(call: ast.Call, name: str, by_name: dict[str, type[Refusal]]) -> Iterator[str]:
    if name in by_name:
        yield from (f"{by_name[name].code}/{_text(word.value)}" for word in call.keywords if word.arg == "topic")
    position = {"reason": 0, "_reason": 0, "because": 1, "in_other_words": 1}.get(name)
    if position is not None and len(call.args) > position and (topic := _text(call.args[position])):
        yield f"{FORM}/{topic}"


def _text(node: ast.expr) -> Any:
    return node.value if isinstance(node, ast.Constant) else None


@pytest.mark.parametrize("language", TRANSLATED)
class TestCatalogues:
    def test_every_code_and_topic_is_translated_and_nothing_else(self, language: str) -> None:
        codes = {kind.code for kind in classes()} - NOBODY_READS - FOR_OPERATORS
        codes = {code for code in codes if not code.startswith(("query_", "too_many_aliases"))}
        found = entries(language)
        assert found.keys() - WORDS == codes | topics()
        assert all(translation for _, translation in found.values())

    def test_placeholders_survive_translation(self, language: str) -> None:
        assert [
            key
            for key, (english, words) in entries(language).items()
            if set(GAP.findall(english)) != set(GAP.findall(words))
        ] == []

    def test_the_english_is_the_sentence_of_the_class(self, language: str) -> None:
        found = entries(language)
        for kind in classes():
            key = f"{kind.code}/{kind.topic}" if kind.topic else kind.code
            if "code" in vars(kind) and key in found:
                english = found[key][0].removesuffix(" Try again in {wait}.")
                assert GAP.search(english) or english == kind.message

    def test_a_request_to_sign_in_keeps_the_word_that_clients_search_for(self, language: str) -> None:
        for kind in classes():
            if kind.graphql_code == "UNAUTHENTICATED" and "__init__" not in vars(kind):
                error = graphql_error(kind(), language)
                assert "authentication" in error["message"]
                assert error["extensions"]["code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize(("seconds", "wait"), [(1, "1 s"), (90, "90 s"), (91, "2 min"), (2158, "36 min")])
def test_the_wait_is_a_parameter(seconds: int, wait: str) -> None:
    refusal = TooManyRequests(retry_after=seconds)
    assert told(refusal, "de") == f"Das war etwas zu oft. Versuchen Sie es in {wait} noch einmal."


def test_lists_are_worded_line_by_line() -> None:
    short = OutOfStock([Shortage("1", "Tee", 5, 2), Shortage("2", "Mate", 1, 0)])
    assert told(short, "de") == "Davon ist nicht genug auf Lager: von Tee nur noch 2; Mate ist ausverkauft."
    assert told(short, "en") == "Not enough in stock: only 2 left of Tee; Mate is sold out."


def test_what_programmers_read_stays_english_beside_a_general_sentence() -> None:
    refusal = InvalidInput("A page has 1 to 100 entries.")
    assert told(refusal, "de") == "A page has 1 to 100 entries."
    assert error_object(refusal, language="de")["reason"] == "A page has 1 to 100 entries."
    assert error_object(refusal, language="de")["message"] == "Eine Angabe in der Anfrage ist nicht gültig."
    assert told(InvalidInput(), "de") == "Eine Angabe in der Anfrage ist nicht gültig."
    special = MalformedBody(message="The body must be a JSON object.")
    assert told(special, "es") == error_object(special, language="es")["message"] == "The body must be a JSON object."


def test_an_error_object_keeps_everything_but_its_sentences() -> None:
    refusal = SessionInactive("There is no session to sign out of.")
    english, german = error_object(refusal), error_object(refusal, language="de")
    assert german["reason"] == german["message"] == "Sie sind nicht angemeldet. Bitte melden Sie sich an."
    sentences = {"reason": "", "message": ""}
    assert english | sentences == german | sentences


def test_an_unknown_code_and_english_have_no_translation() -> None:
    assert sentence_of(Wording("no_such_code"), "de") is None
    assert sentence_of(Wording("not_found"), SOURCE) is None
