"""Money as clients read it. Internally it is an integer in minor units; only for display it is divided, exactly.

This module never adds or multiplies amounts: totals come from the engine.
"""

from decimal import Decimal
from functools import lru_cache
from typing import NewType

import strawberry
from babel import Locale, UnknownLocaleError
from strawberry.types.scalar import ScalarDefinition

from shopkeeper.commerce.port import Money
from shopkeeper.graphql.fields import resolved
from shopkeeper.languages.choice import offered, storable
from shopkeeper.money import decimal_of, printed
from shopkeeper.parsing import parse_accept

MOST_PRINTED = 8192
MOST_LANGUAGES = 512
LONGEST_HEADER = 200

Long = NewType("Long", int)

SCALARS: dict[object, ScalarDefinition] = {
    Decimal: strawberry.scalar(
        name="Decimal",
        description="An exact decimal number, as a JSON number with the digits of its currency: 12.90 euros, 1290 yen.",
    ),
    Long: strawberry.scalar(
        name="Long", description="A whole number of up to 53 bits, which every JSON reader can hold exactly."
    ),
}


@strawberry.type(description="An amount of money in one currency.")
class MoneyAmount:
    money: strawberry.Private[Money]
    locale: strawberry.Private[str]

    @resolved("The amount in the currency's major unit: 12.90 for twelve euros ninety.")
    def amount(self) -> Decimal:
        return amount_of(self.money)

    @resolved("The same in the currency's minor unit, as a whole number: 1290. Calculate with this one.")
    def cent_amount(self) -> Long:
        return Long(self.money.amount)

    @resolved("The currency's ISO 4217 code.")
    def currency(self) -> str:
        return self.money.currency

    @resolved("The amount as people write it, in the language of the request or of the store.")
    def display_value(self) -> str:
        return _printed(self.money.amount, self.money.currency, self.locale)

    channel_id: str | None = strawberry.field(
        default=None, description="The sales channel that the amount counts in; null where it counts in all."
    )


@strawberry.type(description="A price: the same worth in each currency that it is offered in.")
class Price:
    money: strawberry.Private[Money]
    locale: strawberry.Private[str]

    @resolved("One amount for each currency. Shopkeeper answers with the shopper's.")
    def money_amounts(self) -> list[MoneyAmount]:
        return [MoneyAmount(money=self.money, locale=self.locale)]


def amount_of(money: Money) -> Decimal:
    """Return the amount in major units, exactly.

    >>> amount_of(Money(1290, "EUR")), amount_of(Money(1290, "JPY"))
    (Decimal('12.90'), Decimal('1290'))
    """
    return decimal_of(money.amount, money.currency)


def language_of(header: str | None, *, default: str) -> str:
    """Return the language to format in: the first known one of an `Accept-Language` header, else the store's.

    >>> language_of("tlh, de-CH; q=0.9", default="en")
    'de_CH'
    """
    return _language(header[:LONGEST_HEADER] if header else "", default)


def format_locale(header: str | None, *, language: str, default: str) -> str:
    """Return the locale to format in: as `language_of`, unless that is another offered language than the one that the
    reader gets, such as one that was chosen on a page.

    >>> format_locale("de-AT", language="de", default="en"), format_locale("en-GB", language="de", default="en")
    ('de_AT', 'de')
    """
    wished = language_of(header, default=default)
    return wished if offered(wished) == language or storable(wished.partition("_")[0]) is None else language


@lru_cache(MOST_LANGUAGES)
def _language(header: str, default: str) -> str:
    asked = sorted(((tag, weight) for tag, weight in parse_accept(header) if weight), key=lambda wish: -wish[1])
    known = (_known(tag) for tag, _ in asked)
    return next((locale for locale in known if locale), _known(default) or "en")


def _known(tag: str) -> str | None:
    try:
        return str(Locale.parse(tag, sep="-"))
    except (ValueError, UnknownLocaleError):
        return None


@lru_cache(MOST_PRINTED)
def _printed(amount: int, currency: str, locale: str) -> str:
    return printed(amount, currency, locale=Locale.parse(locale))
