"""The numbered messages of forms: complete in every language, and looked up by number."""

import re

import pytest

from shopkeeper.languages.catalogues import read_catalogue, translations
from shopkeeper.languages.choice import LANGUAGES, SOURCE
from shopkeeper.ui.messages import CATALOGUE, Message, message
from shopkeeper.ui.nodes import Node, input_node
from shopkeeper.ui.translated import TITLE, node_in, text_of

TRANSLATED = [language for language in LANGUAGES if language != SOURCE]
GAP = re.compile(r"\{\w+\}")
ONLY_A_GAP = {number for number, (_, sentence) in CATALOGUE.items() if GAP.fullmatch(sentence)}


def entries(language: str) -> dict[tuple[int, str], str]:
    """Return the translations by number and English sentence."""
    return {(int(e.context or 0), str(e.id)): str(e.string) for e in read_catalogue(language, "messages") if e.id}


@pytest.mark.parametrize("language", TRANSLATED)
class TestCatalogues:
    def test_every_number_is_translated_and_nothing_else(self, language: str) -> None:
        written = {(number, text) for number, (_, text) in CATALOGUE.items() if number not in ONLY_A_GAP}
        found = {(number, text): words for (number, text), words in entries(language).items() if number != TITLE}
        assert found.keys() == written
        assert all(found.values())

    def test_placeholders_survive_translation(self, language: str) -> None:
        wrong = [key for key, words in entries(language).items() if set(GAP.findall(key[1])) != set(GAP.findall(words))]
        assert wrong == []


def test_the_same_english_sentence_may_differ_by_number() -> None:
    assert (CATALOGUE[1060003][1]) != CATALOGUE[1080003][1]
    assert text_of(message(1060003), "de") != text_of(message(1080003), "de")


def test_a_language_without_a_catalogue_is_named() -> None:
    with pytest.raises(ValueError, match=r"no catalogue messages\.po in 'fr'"):
        translations("fr", "messages")


def test_a_field_is_translated_with_its_messages_and_keeps_numbers_and_contexts() -> None:
    node = input_node("traits.name.first", "text", group="default", label=message(TITLE, title="First name"))
    shown = node_in(node.with_messages(message(4000002, property="first")), "de").to_wire()
    assert shown["meta"]["label"] | {"context": {}} == {
        "id": TITLE,
        "text": "Vorname",
        "type": "info",
        "context": {},
    }
    assert shown["messages"] == [
        {"id": 4000002, "text": "Bitte ausfüllen: Vorname.", "type": "error", "context": {"property": "first"}}
    ]


def test_a_message_in_an_attribute_is_translated() -> None:
    label = message(1070009)
    node = Node("a", "code", {"href": "/", "title": label.to_wire(), "id": "continue", "node_type": "a"}, label)
    assert node_in(node, "es").attributes["title"]["text"] == text_of(label, "es") != label.text


def test_an_unknown_number_and_a_foreign_title_stay_as_they_are() -> None:
    assert text_of(Message(99, "info", "As it is."), "es") == "As it is."
    assert text_of(message(TITLE, title="Shoe size"), "de") == "Shoe size"
    assert text_of(message(TITLE, title=""), "de") == ""


def test_in_english_a_field_is_the_same() -> None:
    node = input_node("password", "password", group="password", label=message(1070001))
    assert node_in(node, SOURCE) is node
