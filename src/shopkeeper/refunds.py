"""Gives back what an attempt has spent of the throttles' budgets, where it ends because we were busy (503).

A customer must not run out of attempts because our database was away or our queue was full. Only `Busy` gives back: a
mistake in the form is an attempt, and so is one whose client disconnects, or budgets could be avoided by disconnecting.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from shopkeeper.errors import Busy

Act = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Charge:
    give_back: Act
    keep: Act | None


_CHARGES: Final[ContextVar[list[_Charge] | None]] = ContextVar("charges", default=None)


@asynccontextmanager
async def refunded_when_busy() -> AsyncIterator[None]:
    """Give back what is charged in this block, where it ends with `Busy`, or with an error whose cause that is.

    It goes around a whole operation, of which only the end tells whether we were busy.
    """
    charges: list[_Charge] = []
    outer = _CHARGES.set(charges)
    busy = False
    try:
        yield
    except BaseException as ended:
        busy = isinstance(ended, Busy) or isinstance(ended.__cause__, Busy)
        raise
    finally:
        _CHARGES.reset(outer)
        for charge in charges:
            act = charge.give_back if busy else charge.keep
            if act is not None:
                await act()


async def charge(*, give_back: Act, keep: Act | None = None) -> None:
    """Settle a charge when the block of `refunded_when_busy` ends: by `give_back` where we were busy, else by `keep`.

    Outside of such a block it is kept now.
    """
    charges = _CHARGES.get()
    if charges is not None:
        charges.append(_Charge(give_back, keep))
    elif keep is not None:
        await keep()
