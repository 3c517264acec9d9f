"""Gives back what an attempt has spent of the throttles' budgets, where it did not do what it was spent for.

A customer must not run out of attempts because our database was away or our queue was full (503): everything is given
back then. What is charged for an effect, such as a mail, is also given back where the operation has no effect, because
another submission of the same form had it first, or the form was rejected. What limits failures only comes back where
the operation is done. Everything else stays spent: a mistake in the form is an attempt, and so is one whose client
disconnects, or budgets could be avoided by disconnecting.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from shopkeeper.errors import Busy

Act = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Charge:
    give_back: Act
    keep: Act | None
    for_effect: bool


@dataclass(slots=True)
class _Operation:
    """What an operation was charged, and whether it turned out to have no effect."""

    charges: list[_Charge] = field(default_factory=list)
    when_done: list[Act] = field(default_factory=list)
    without_effect: bool = False


_OPERATION: Final[ContextVar[_Operation | None]] = ContextVar("operation", default=None)


@asynccontextmanager
async def refunded_when_busy() -> AsyncIterator[None]:
    """Give back what is charged in this block, where it ends with `Busy`, or with an error whose cause that is; what is
    charged for an effect, also where `without_effect` is called.

    It goes around a whole operation, of which only the end tells whether we were busy.
    """
    operation = _Operation()
    outer = _OPERATION.set(operation)
    busy = done = False
    try:
        yield
        done = not operation.without_effect
    except BaseException as ended:
        busy = isinstance(ended, Busy) or isinstance(ended.__cause__, Busy)
        raise
    finally:
        _OPERATION.reset(outer)
        for charge in operation.charges:
            returned = busy or (charge.for_effect and operation.without_effect)
            act = charge.give_back if returned else charge.keep
            if act is not None:
                await act()
        for act in operation.when_done if done else ():
            await act()


def without_effect() -> None:
    """Say that the operation of the innermost block has no effect: nothing was sent, and nothing will be."""
    operation = _OPERATION.get()
    if operation is not None:
        operation.without_effect = True


async def charge(*, give_back: Act, keep: Act | None = None, for_effect: bool = False) -> None:
    """Settle a charge when the block of `refunded_when_busy` ends, by `give_back` or by `keep`.

    Outside of such a block it is kept now.

    Args:
        for_effect: whether the charge is for an effect, such as a mail, and not for the attempt.
    """
    operation = _OPERATION.get()
    if operation is not None:
        operation.charges.append(_Charge(give_back, keep, for_effect))
    elif keep is not None:
        await keep()


def when_done(give_back: Act) -> None:
    """Call `give_back` when the block of `refunded_when_busy` ends, unless it ends with an error or without effect.

    Outside of such a block nobody knows whether the operation is done, and nothing is given back.
    """
    operation = _OPERATION.get()
    if operation is not None:
        operation.when_done.append(give_back)
