from datetime import date

import pytest

from shopkeeper.notify.formats import LONGEST, day, money, person, tame


class TestMoney:
    @pytest.mark.parametrize(
        ("amount", "currency", "locale", "written"),
        [
            (123450, "EUR", "en", "€1,234.50"),
            (123450, "EUR", "de", "1.234,50\u00a0€"),
            (123450, "EUR", "es", "1.234,50\u00a0€"),
            (5, "USD", "en", "$0.05"),
            (-199, "EUR", "en", "-€1.99"),
            (0, "EUR", "en", "€0.00"),
            # Yen have no minor unit, dinars of Kuwait have a thousand.
            (12345, "JPY", "en", "¥12,345"),
            (12345, "KWD", "en", "KWD12.345"),
            # Prices are written without para, but our amounts count them, so nothing may be rounded away.
            (12350, "RSD", "en", "RSD123.50"),
            # More digits than a float can hold.
            (900719925474099301, "EUR", "en", "€9,007,199,254,740,993.01"),
        ],
    )
    def test_minor_units_are_written_as_people_write_them(
        self, amount: int, currency: str, locale: str, written: str
    ) -> None:
        assert money({"amount": amount, "currency": currency}, locale=locale) == written


class TestDay:
    @pytest.mark.parametrize(
        ("locale", "written"),
        [("en", "March 14, 2026"), ("de", "14. März 2026"), ("es", "14 de marzo de 2026")],
    )
    def test_a_day_is_written_in_words(self, locale: str, written: str) -> None:
        assert day(date(2026, 3, 14), locale=locale) == written


class TestPerson:
    @pytest.mark.parametrize("name", ["Ana", "José María", "O'Neill", "J. R. R. Tolkien", "王小明", "<b>Ana</b>"])
    def test_a_name_is_used(self, name: str) -> None:
        assert person(name) == name

    @pytest.mark.parametrize(
        "name",
        [
            None,
            "",
            "win at evil.example",
            "https://evil",
            "www.evil",
            "write to me@evil",
            "a" * 61,
        ],
        ids=["none", "empty", "domain", "url", "www", "address", "long"],
    )
    def test_what_a_mail_program_would_link_is_no_name(self, name: str | None) -> None:
        assert person(name) == ""


class TestTame:
    @pytest.mark.parametrize(
        ("wild", "tamed"),
        [
            ("Ana\r\nBcc: all@x.example", "Ana Bcc: all@x.example"),
            ("a\u2028b\u2029c\x00d\x85e", "a b c d e"),
            ("gpj.\u202eexe", "gpj.exe"),
            ("\ud800", ""),
            ("  a \t b ", "a b"),
            ("👨‍👩‍👧", "👨‍👩‍👧"),
            (7, 7),
            (None, None),
        ],
    )
    def test_a_text_becomes_one_harmless_line(self, wild: object, tamed: object) -> None:
        assert tame(wild) == tamed

    def test_every_nested_text_becomes_harmless(self) -> None:
        assert tame({"lines": [{"name": "a\nb"}, ("c\nd",)]}) == {"lines": [{"name": "a b"}, ["c d"]]}

    def test_a_long_text_is_cut(self) -> None:
        assert tame("x" * 1000) == "x" * (LONGEST - 1) + "…"
