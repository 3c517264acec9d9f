"""One stored spelling for all that look the same."""

import sys
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shopkeeper.identity.normalise import is_exact, normalise_email, normalise_identifier, normalise_phone

INVISIBLE = st.sampled_from("\u200b\u200c\u200d\u2060\ufeff\u202e\u2066\u200e\u00ad\u034f\u3164\ufe0f\x00\x1f\u061c")
ANY = st.text(max_size=40)
EMAILS = st.emails()


class TestIdentifier:
    @pytest.mark.parametrize(
        ("spelt", "stored"),
        [
            ("Ada@Example.ORG", "ada@example.org"),
            ("  ada@example.org\t\r\n", "ada@example.org"),
            ("ａｄａ＠ｅｘａｍｐｌｅ．ｏｒｇ", "ada@example.org"),
            ("ad\u200ba@exam\u00adple.org", "ada@example.org"),
            ("\u202eada@example.org", "ada@example.org"),
            ("ada@xn--strae-oqa.de", "ada@straße.de"),
            # Another domain than strasse.de, with another owner, so it must not be folded into it.
            ("ada@straße.de", "ada@straße.de"),
            ("+49 (170) 123-4567", "+491701234567"),
            ("＋４９１７０１２３４５６７", "+491701234567"),
            ("+not a phone", "+not a phone"),
            ("Ünal", "ünal"),
            ("U\u0308nal", "ünal"),
            # The Kelvin sign is a K.
            ("\u212aarl", "karl"),
            ("ada@example.org,bob@example.org", "ada@example.org,bob@example.org"),
            ("\u200b\u3164", ""),
        ],
    )
    def test_is_stored_in_one_spelling(self, spelt: str, stored: str) -> None:
        assert normalise_identifier(spelt) == stored

    @given(ANY | EMAILS | st.from_regex(r"\+[0-9 ()-]{5,20}", fullmatch=True))
    def test_normalising_again_changes_nothing(self, text: str) -> None:
        once = normalise_identifier(text)
        assert normalise_identifier(once) == once

    @pytest.mark.parametrize("plane", range(17))
    def test_normalising_a_character_once_is_enough(self, plane: int) -> None:
        for code in range(plane * 0x10000, min((plane + 1) * 0x10000, sys.maxunicode + 1)):
            once = normalise_identifier("a" + chr(code))
            assert normalise_identifier(once) == once

    @given(EMAILS)
    def test_capitals_do_not_matter(self, address: str) -> None:
        assert normalise_identifier(address.upper()) == normalise_identifier(address.lower())

    @given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20))
    def test_full_width_letters_do_not_matter(self, text: str) -> None:
        wide = "".join(chr(ord(c) + 0xFEE0) for c in text)
        assert normalise_identifier(wide) == normalise_identifier(text)

    @given(ANY, st.data())
    def test_invisible_characters_do_not_matter(self, text: str, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(text)))
        assume(not text[place : place + 1] or not unicodedata.combining(text[place]))
        seeded = text[:place] + data.draw(INVISIBLE) + text[place:]
        assert normalise_identifier(seeded) == normalise_identifier(text)

    @given(st.text(st.characters(categories=["L", "N"], exclude_characters="\u115f\u1160\u3164\uffa0"), min_size=1))
    def test_visible_characters_stay(self, text: str) -> None:
        assert normalise_identifier(text) != ""

    @given(ANY)
    def test_no_invisible_character_is_left(self, text: str) -> None:
        assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs"} for c in normalise_identifier(text))


class TestAddresses:
    def test_an_email_address_and_the_identifier_agree(self) -> None:
        assert normalise_email(" ADA@Example.org") == normalise_identifier("ada@example.org")

    def test_a_phone_number_and_the_identifier_agree(self) -> None:
        assert normalise_phone("+1 (650) 253-0000") == normalise_identifier("+16502530000") == "+16502530000"

    def test_a_number_without_its_country_stays_as_it_is(self) -> None:
        assert normalise_phone("0170 1234567") == "0170 1234567"


class TestIsExact:
    @pytest.mark.parametrize(
        "spelt",
        [
            "ada@example.org",
            "Ada@EXAMPLE.org",
            "ada@xn--strae-oqa.de",
            "ada@straße.de",
            "Ünal@example.org",
            "+49 (170) 123-4567",
        ],
    )
    def test_what_is_the_same_mailbox_is_exact(self, spelt: str) -> None:
        assert is_exact(spelt)

    @pytest.mark.parametrize(
        "spelt",
        [
            "ａda@example.org",
            "ada@ｅxample.org",
            "ada＠example.org",
            "ada@example。org",
            "ad\u200ba@example.org",
            "ada@exam\u00adple.org",
            # Lower case makes a plain k of the Kelvin sign, and an å of the sign of the unit.
            "\u212aarl@example.org",
            "\u212bsa@example.org",
            "u\u0308nal@example.org",
            "ada\n@example.org",
            "+４９１７０１２３４５６７",
            "+1 800 FLOWERS",
        ],
    )
    def test_what_only_looks_the_same_is_not(self, spelt: str) -> None:
        assert not is_exact(spelt)

    @given(EMAILS)
    def test_the_stored_spelling_is_exact(self, address: str) -> None:
        assert is_exact(normalise_identifier(address))

    @given(ANY)
    def test_one_that_is_exact_differs_by_capitals_at_most(self, text: str) -> None:
        assume("@" not in text and not text.startswith("+") and is_exact(text))
        assert text.lower() == normalise_identifier(text)
