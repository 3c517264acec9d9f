"""Converts and formats amounts of money, which are stored in minor units.

The number of digits is that of ISO 4217, which defines the minor units that we store. Babel's is the number of digits
that people write (CLDR), which is 0 for RSD or ALL.
"""

from collections.abc import Mapping
from copy import copy
from decimal import Decimal
from typing import Final

from babel import Locale

# The exponents that are not 2.
MINOR_DIGITS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"), 0),
    **dict.fromkeys(("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}


def decimal_of(amount: int, currency: str) -> Decimal:
    """Return an amount in major units, exactly.

    >>> decimal_of(1290, "EUR"), decimal_of(1290, "JPY")
    (Decimal('12.90'), Decimal('1290'))
    """
    return Decimal(amount).scaleb(-_digits(currency))


def printed(amount: int, currency: str, *, locale: Locale) -> str:
    """Format an amount for a locale, without rounding.

    >>> printed(199, "EUR", locale=Locale("en"))
    '€1.99'
    """
    pattern = copy(locale.currency_formats["standard"])
    pattern.frac_prec = (_digits(currency),) * 2
    return str(pattern.apply(decimal_of(amount, currency), locale, currency=currency, currency_digits=False))


def _digits(currency: str) -> int:
    return MINOR_DIGITS.get(currency, 2)
