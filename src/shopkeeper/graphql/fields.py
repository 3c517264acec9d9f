"""Declares computed fields: Strawberry's decorator, typed, with the description first."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import strawberry

F = TypeVar("F", bound=Callable[..., Any])


def resolved(description: str, *, directives: Sequence[object] = ()) -> Callable[[F], F]:
    """Declare a method as a field of the schema. Python code can still call it as a method.

    >>> @strawberry.type
    ... class Greeting:
    ...     @resolved("What is said.")
    ...     def words(self) -> str:
    ...         return "Good morning."
    """
    decorate: Callable[[F], F] = strawberry.field(description=description, directives=directives)
    return decorate
