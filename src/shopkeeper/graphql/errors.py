"""Errors as GraphQL clients read them: a sentence and `extensions.code`. Unexpected errors are masked, and logged."""

import re
from collections.abc import Mapping
from typing import Any

import structlog
from graphql import GraphQLError
from strawberry.utils.str_converters import to_camel_case

from shopkeeper.errors import Busy, InternalError, Refusal, TooManyRequests, Unauthenticated
from shopkeeper.languages import refusals
from shopkeeper.languages.choice import SOURCE

BROKEN = "INTERNAL_SERVER_ERROR"
BAD_INPUT = "BAD_USER_INPUT"
UNAUTHENTICATED = Unauthenticated.graphql_code
SIGN_IN_WORD = "authentication"
SYNTAX = "GRAPHQL_PARSE_FAILED"
INVALID = "GRAPHQL_VALIDATION_FAILED"

LONGEST_MESSAGE = 400
"""graphql-core repeats names and values of the request in its messages, however long they are."""

log = structlog.get_logger("shopkeeper.graphql")


def code_of(refusal: Refusal) -> str:
    """Return the code that clients see."""
    return refusal.graphql_code or refusal.code.upper()


_ECHO = re.compile(r"(represent [^:]*value): .*|, found: .*|, but encountered error.*", re.DOTALL)


def told(refusal: Refusal, language: str = SOURCE) -> dict[str, Any]:
    """Return a refusal as a GraphQL error, in a language.

    The seed's client takes a message with the word "authentication" for a request to sign in, in every language.
    """
    code, message = code_of(refusal), refusals.told(refusal, language)
    if code == UNAUTHENTICATED and SIGN_IN_WORD not in message.lower():
        message = f"{message} ({SIGN_IN_WORD})"
    return {"message": message, "extensions": {"code": code, **_beside(refusal)}}


def formatted(error: GraphQLError, code: str = BAD_INPUT, *, language: str = SOURCE) -> dict[str, Any]:
    """Return an error of the executor as a GraphQL error. A refusal keeps its code; any other exception is masked.

    What graphql-core says of a wrong document is for programmers, and stays English.
    """
    cause = error.original_error
    if cause is None or isinstance(cause, GraphQLError):
        return {**_place(error), "message": _without_values(error.message), "extensions": {"code": code}}
    if not isinstance(cause, Refusal):
        log.error("graphql failed", path=_path(error), exc_info=cause)
        cause = InternalError()
        return {**_place(error), "message": refusals.told(cause, language), "extensions": {"code": BROKEN}}
    return {**_place(error), **told(cause, language)}


def as_invalid(error: GraphQLError) -> dict[str, Any]:
    """Return an error of validation as a GraphQL error.

    Where a scalar could not parse a literal, such as a number of 5,000 digits, the document is wrong, not the server.
    """
    return {**_place(error), "message": _without_values(error.message), "extensions": {"code": INVALID}}


def _without_values(message: str) -> str:
    """Remove input values from an error message. graphql-core repeats the whole input, which may hold a password."""
    short = _ECHO.sub(lambda echo: f"{echo[1] or ''}.", message)
    return short if len(short) <= LONGEST_MESSAGE else f"{short[:LONGEST_MESSAGE]}…"


def _place(error: GraphQLError) -> dict[str, Any]:
    return {name: value for name, value in error.formatted.items() if name in {"locations", "path"}}


def _path(error: GraphQLError) -> str:
    return ".".join(str(step) for step in error.path or ())


def _beside(refusal: Refusal) -> dict[str, Any]:
    """Return the other extensions: when to retry, and the refusal's details, spelled as in the schema."""
    later = {"retryAfter": refusal.retry_after} if isinstance(refusal, TooManyRequests | Busy) else {}
    return {**_camel(refusal.details), **later}


def _camel(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {to_camel_case(str(name)): _camel(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_camel(inner) for inner in value]
    return value
