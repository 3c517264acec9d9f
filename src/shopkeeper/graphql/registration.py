"""Registration through GraphQL: converts flat input fields to traits and back, and calls the registrar.

The identity schema decides which traits exist; their names in the published client are data here.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from shopkeeper.client import Client
from shopkeeper.credentials.steps import SubmissionRejected
from shopkeeper.graphql.answers import ENGLISH, Answer, worded
from shopkeeper.identity.names import text_at
from shopkeeper.identity.values import Identity
from shopkeeper.ui.messages import Message
from shopkeeper.ui.translated import message_in

TRAITS: Mapping[str, tuple[str, ...]] = {
    "email": ("email",),
    "firstName": ("name", "first"),
    "middleName": ("name", "middle"),
    "lastName": ("name", "last"),
    "title": ("title",),
    "salutation": ("salutation",),
    "dateOfBirth": ("date_of_birth",),
    "companyName": ("company_name",),
}
"""Where each field of the published client is in an identity's traits."""

_FIELDS = {".".join(("traits", *path)): field for field, path in TRAITS.items()}

_NOT_KEPT = Message(0, "error", ENGLISH[Answer.FIELD_NOT_KEPT])
"""The field has no trait in the schema."""


class RegistrarPort(Protocol):
    """The registrar: it checks, throttles and writes, for every route that registers."""

    async def register(
        self,
        *,
        store: str,
        schema_id: str | None,
        traits: Mapping[str, Any],
        submitted: Mapping[str, Any],
        client: Client,
        locale: str,
        wished_language: str | None = None,
    ) -> tuple[Identity, str]: ...


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one field, or with the input as a whole."""

    field: str | None
    message: Message

    @property
    def number(self) -> int:
        return self.message.id

    @property
    def text(self) -> str:
        return self.message.text

    def within(self, language: str) -> "Problem":
        """Return the problem in a language."""
        if self.message is _NOT_KEPT:
            return replace(self, message=replace(_NOT_KEPT, text=worded(Answer.FIELD_NOT_KEPT, language)))
        return replace(self, message=message_in(self.message, language))


class SignUpRejected(Exception):
    """The input is not valid; `problems` says why, field by field."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(", ".join(str(problem.number) for problem in problems))
        self.problems = problems


class CustomerRegistration:
    """Registers an identity with a password.

    It does not sign in: signing in makes the identity a customer of the engine.

    Args:
        registrar: registers the identity.
        kept: the traits that the identity schema has, as `traits.name.first`.
    """

    def __init__(self, *, registrar: RegistrarPort, kept: Collection[str]) -> None:
        self._registrar = registrar
        self._kept = frozenset(kept)

    async def __call__(
        self,
        fields: Mapping[str, str],
        *,
        store: str,
        password: str,
        client: Client,
        locale: str,
        wished_language: str | None = None,
    ) -> Identity:
        """Raises `SignUpRejected`, `TooManyRequests`, `Busy` or `FlowDisabled`."""
        self._refuse_lost(fields)
        try:
            identity, _ = await self._registrar.register(
                store=store,
                schema_id=None,
                traits=traits_of(fields),
                submitted={"method": "password", "password": password},
                client=client,
                locale=locale,
                wished_language=wished_language,
            )
        except SubmissionRejected as rejected:
            raise SignUpRejected(*_problems(rejected)) from rejected
        return identity

    def _refuse_lost(self, fields: Mapping[str, str]) -> None:
        """Refuse a field that the identity schema does not have, instead of dropping it."""
        lost = [field for field in fields if _dotted(field) not in self._kept]
        if lost:
            raise SignUpRejected(*(Problem(field, _NOT_KEPT) for field in lost))


def trait(traits: Mapping[str, Any], field: str) -> str | None:
    """Return the trait of one of the client's fields.

    >>> trait({"name": {"first": "Ada"}}, "firstName")
    'Ada'
    """
    return text_at(traits, *TRAITS[field])


def traits_of(fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the client's fields as traits.

    >>> traits_of({"email": "ada@example.org", "firstName": "Ada"})
    {'email': 'ada@example.org', 'name': {'first': 'Ada'}}
    """
    traits: dict[str, Any] = {}
    for field, value in fields.items():
        *above, last = TRAITS[field]
        place = traits
        for step in above:
            place = place.setdefault(step, {})
        place[last] = value
    return traits


def _dotted(field: str) -> str:
    return ".".join(("traits", *TRAITS[field]))


def _problems(rejected: SubmissionRejected) -> list[Problem]:
    general = [_problem(None, message) for message in rejected.general]
    return [*general, *(_problem(_FIELDS.get(error.name, error.name), error.message) for error in rejected.fields)]


def _problem(field: str | None, message: Message) -> Problem:
    return Problem(field, message)
