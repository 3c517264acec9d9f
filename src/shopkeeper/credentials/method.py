"""The port of a credential method: its fields as UI nodes, and what it proves.

A method never sees a flow, a request or a session. The pipeline owns expiry, CSRF, transactions, hooks and sessions, so
that a method is small and cannot forget one of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from shopkeeper.identity.values import Aal, Client, Identity
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import Message
from shopkeeper.ui.nodes import Node


@dataclass(frozen=True, slots=True)
class LoginView:
    """What a method needs to know to show its part of a login form."""

    refresh: bool
    requested_aal: Aal


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to prove an identity: what was submitted, from where, and for whom if that is known already."""

    submitted: Mapping[str, Any]
    client: Client
    identity: Identity | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """Whose identity was proven, and by what."""

    identity: Identity
    method: str
    aal: Aal


@dataclass(frozen=True, slots=True)
class Draft:
    """An identity that is about to be made: its schema, valid traits and the identifiers taken from them by type."""

    schema_id: str
    traits: Mapping[str, Any]
    identifiers: Mapping[str, Sequence[str]]
    client: Client


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A credential to be stored with a new identity."""

    type: str
    config: Mapping[str, Any]
    identifiers: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FieldError:
    """A message that belongs to one node of the form."""

    name: str
    message: Message


class Rejected(Exception):
    """What was submitted does not do; the form is shown again with these messages.

    `general` stand above the form, `fields` at their nodes. `filled` says whether the form shows what was typed.
    Raising it rolls the unit of work back.
    """

    def __init__(self, *general: Message, fields: Sequence[FieldError] = (), filled: bool = True) -> None:
        super().__init__(", ".join(str(m.id) for m in (*general, *(f.message for f in fields))))
        self.general = general
        self.fields = tuple(fields)
        self.filled = filled


class Method(Protocol):
    """What every method has: a name, which is also its UI group, its credential type and its key in the settings.

    What it can do, it says by implementing the ports below: each kind of flow takes the methods that have its port.
    """

    name: str


@runtime_checkable
class LoginMethod(Method, Protocol):
    """A method that signs in."""

    def login_nodes(self, view: LoginView) -> Sequence[Node]:
        """The method's own part of the form; the identifier and the CSRF token are the pipeline's."""
        ...

    async def prove(self, unit: Unit, attempt: Attempt) -> Proof:
        """Whose identity was proven. Raises `Rejected`, `TooManyRequests`, `IdentityDisabled` or `Busy`."""
        ...


@runtime_checkable
class RegistrationMethod(Method, Protocol):
    """A method that a new identity can be made with."""

    def registration_nodes(self) -> Sequence[Node]:
        """The method's own part of the form; the traits and the CSRF token are the pipeline's."""
        ...

    def missing(self, submitted: Mapping[str, Any]) -> Sequence[FieldError]:
        """What the method's own part of the form lacks, to be told together with mistakes in the traits."""
        ...

    async def enrol(self, draft: Draft, submitted: Mapping[str, Any]) -> NewCredential:
        """The credential for a new identity. Raises `Rejected` or `Busy`. Writes nothing."""
        ...
