"""The conversions between the engine's values and the client's."""

from decimal import Decimal

import msgspec
import pytest

from shopkeeper.commerce.port import Category, Money
from shopkeeper.graphql.items import above, reference
from shopkeeper.graphql.money import MoneyAmount, amount_of, language_of
from shopkeeper.graphql.registration import TRAITS, trait, traits_of
from shopkeeper.notify.formats import money as in_a_mail


class TestMoney:
    @pytest.mark.parametrize(
        ("money", "shown"),
        [
            (Money(1290, "EUR"), "12.90"),
            (Money(0, "EUR"), "0.00"),
            (Money(1290, "JPY"), "1290"),
            (Money(1290, "KWD"), "1.290"),
            (Money(10**15 + 1, "EUR"), "10000000000000.01"),  # a float would lose the cent
        ],
    )
    def test_is_divided_exactly_and_printed_as_a_number(self, money: Money, shown: str) -> None:
        assert amount_of(money) == Decimal(shown)
        assert msgspec.json.Encoder(decimal_format="number").encode(amount_of(money)).decode() == shown

    @pytest.mark.parametrize(
        ("locale", "shown"),
        [("en", "€12.90"), ("de_DE", "12,90\xa0€"), ("es", "12,90\xa0€"), ("de_CH", "EUR\xa012.90")],
    )
    def test_is_written_as_people_write_it(self, locale: str, shown: str) -> None:
        assert MoneyAmount(money=Money(1290, "EUR"), locale=locale).display_value() == shown

    def test_dinars_are_shown_in_the_shop_as_in_the_mail_about_the_order(self) -> None:
        shown = MoneyAmount(money=Money(129_000, "RSD"), locale="en")
        assert shown.amount() == Decimal("1290.00")
        assert shown.display_value() == in_a_mail({"amount": 129_000, "currency": "RSD"}, locale="en")


class TestLanguage:
    @pytest.mark.parametrize(
        ("header", "language"),
        [
            (None, "en_GB"),
            ("", "en_GB"),
            ("*", "en_GB"),
            ("de", "de"),
            ("de-CH,de;q=0.9", "de_CH"),
            ("en;q=0.1, es;q=0.8", "es"),
            ("tlh, xx-YY;q=0.9, fr;q=0.2", "fr"),
            ("../../etc/passwd", "en_GB"),
            ("de; q=0.9, es; q=0.95", "es"),
            ("de;q=0, es;q=0.1", "es"),
            ("de;q=nonsense", "en_GB"),
            ("de" * 5_000, "en_GB"),
        ],
    )
    def test_is_the_first_that_we_know(self, header: str | None, language: str) -> None:
        assert language_of(header, default="en-GB") == language


class TestReferences:
    @pytest.mark.parametrize(
        ("sent", "meant"),
        [("QK-1", "QK-1"), ("pot___QK-1", "pot"), ("___QK-1", "QK-1"), ("pot___", "pot"), ("", ""), ("a_b", "a_b")],
    )
    def test_are_ids_with_or_without_a_code(self, sent: str, meant: str) -> None:
        assert reference(sent) == meant


class TestShelves:
    def test_categories_lead_up_to_the_top(self) -> None:
        shelves = {name: Category(name, name, name, parent_id=parent) for name, parent in _TREE.items()}
        assert [shelf.id for shelf in above(shelves["mugs"], shelves)] == ["house", "table"]
        assert above(shelves["house"], shelves) == []
        assert above(shelves["lost"], shelves) == []

    def test_categories_do_not_lead_in_a_circle(self) -> None:
        shelves = {name: Category(name, name, name, parent_id=parent) for name, parent in (("a", "b"), ("b", "a"))}
        assert len(above(shelves["a"], shelves)) == 2


_TREE = {"house": None, "table": "house", "mugs": "table", "lost": "nowhere"}


class TestTraits:
    def test_are_the_clients_fields_and_back(self) -> None:
        fields = {field: f"some {field}" for field in TRAITS}
        traits = traits_of(fields)
        assert {field: trait(traits, field) for field in TRAITS} == fields

    @pytest.mark.parametrize("traits", [{}, {"name": None}, {"name": "Ada"}, {"name": {"first": 7}}, {"name": []}])
    def test_missing_traits_are_null(self, traits: dict[str, object]) -> None:
        assert trait(traits, "firstName") is None
