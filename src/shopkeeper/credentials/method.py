"""The port of a credential method: its fields as UI nodes, and the step that follows a submission.

A method never sees a flow, a request or a response. The pipeline owns expiry, CSRF, transactions, hooks and sessions,
so that a method is small and cannot forget one of them. A method shows what it can do by implementing the protocols
below; each flow takes the methods that have its protocol.

Methods only read with the unit that they get; their writes are the `effect` of their step.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, runtime_checkable
from uuid import UUID

from shopkeeper.client import Client
from shopkeeper.credentials.steps import (
    AnyStep,
    Ask,
    CredentialChange,
    Enrolment,
    FieldError,
    Form,
    NewCredential,
    Redirect,
    StartOver,
    Step,
    TraitsChange,
    Verified,
)
from shopkeeper.identity.extraction import Extracted
from shopkeeper.identity.facts import CredentialFacts
from shopkeeper.identity.mail_values import mail_values
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.storage.database import Unit
from shopkeeper.ui.nodes import Node


@dataclass(frozen=True, slots=True)
class Callback:
    """Where another server sends the browser back to, and the `state` to give it (RFC 6749, section 4.1.1)."""

    url: str
    state: str


async def _uncounted(most: int) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class MethodView:
    """What a method needs to know to describe its part of a form.

    Args:
        flow_id: the flow, for links that continue it.
        context: what the method stored in this flow.
        identity: the identity of the session, where the flow is for one (refresh, AAL2, settings).
        locale: the language of mails to people whose own is not known.
        wished_language: the language that the visitor has chosen or asks for.
        expires_at: when the flow ends.
        opened_at: when it was opened.
        native: whether the client is a native app, which has no use for hints such as `autocomplete`.
        request_url: the address that the flow was opened with.
        schema_id: the identity schema that the visitor has chosen; None for the default one.
    """

    client: Client
    context: Mapping[str, Any] = field(default_factory=dict)
    state: str = "choose_method"
    refresh: bool = False
    requested_aal: Aal = Aal.AAL1
    identity: Identity | None = None
    session_id: UUID | None = None
    locale: str = "en"
    expires_at: datetime | None = None
    opened_at: datetime | None = None
    native: bool = False
    flow_id: UUID | None = None
    wished_language: str | None = None
    request_url: str | None = None
    schema_id: str | None = None

    def locale_for(self, recipient: Identity | None) -> str:
        """Return the language of a mail to an account: the one that the visitor wishes, else the account's own."""
        own = recipient.locale if recipient is not None else None
        return self.wished_language or own or self.locale

    def mail_values(self, recipient: Identity | None) -> Mapping[str, Any]:
        """Return what every mail of this flow may say; None stands for an unknown account."""
        values = {**mail_values(recipient), "request_url": self.request_url}
        return {**values, "transient_payload": self.transient_payload}

    @property
    def transient_payload(self) -> Mapping[str, Any]:
        """What the client hands on to mails and hooks."""
        return {}


@dataclass(frozen=True, slots=True)
class MethodInput(MethodView):
    """A submission to a method: the fields of `MethodView`, and what was sent.

    Args:
        submitted: the fields of the body; not validated.
        shown: the nodes that the flow shows now.
        traits: for registration: the traits, which are valid by their schema, and what was extracted from them; for
            methods that bring traits (`BringsTraits`) what was typed, not validated, in a login as well.
        count_attempt: increases the flow's counter of attempts; returns False where it has reached `most`. Call it
            before the answer depends on a code. It commits at once, so that parallel attempts are counted too. A right
            code may be left to the step that ends the flow (`LastAttempt`).
        callback: for `Redirect`; where the browser comes back to.
        query: in `callback`: the parameters that the other server sent the browser back with; `provider` is the last
            part of the path, where the method's callbacks have one for each provider.
    """

    submitted: Mapping[str, Any] = field(default_factory=dict)
    shown: Sequence[Node] = ()
    traits: "Traits | None" = None
    count_attempt: Callable[[int], Awaitable[bool]] = _uncounted
    callback: Callback | None = None
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def transient_payload(self) -> Mapping[str, Any]:
        """See `MethodView`."""
        payload = self.submitted.get("transient_payload")
        return payload if isinstance(payload, Mapping) else {}

    def text(self, name: str) -> str | None:
        """Return a submitted field; None where it is no text."""
        value = self.submitted.get(name)
        return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class Traits:
    """The traits of a registration: valid, with the identifiers and addresses that the schema finds in them."""

    schema_id: str
    values: Mapping[str, Any]
    extracted: Extracted


def require_traits(input: MethodInput) -> Traits:  # noqa: A002 - the protocol's word
    """Return the traits of a registration's submission."""
    if input.traits is None:
        raise TypeError("a registration is submitted without traits")
    return input.traits


class Method(Protocol):
    """What every method has: a name, which is also its UI group, its credential type and its key in the settings."""

    name: str
    facts: CredentialFacts


@runtime_checkable
class LoginMethod(Method, Protocol):
    """A method that signs in.

    `aals` are the levels that it can give: AAL1, AAL2 or both.
    """

    aals: frozenset[Aal]

    async def login_form(self, unit: Unit, view: MethodView) -> Form:
        """Return the method's own nodes of the login form. The handler adds identifier and CSRF token."""
        ...

    async def submit_login(self, unit: Unit, input: MethodInput) -> Step:  # noqa: A002 - the protocol's word
        """Return the step that follows. Raises `SubmissionRejected`, `TooManyRequests`, `InvalidCredentials` or
        `Busy`."""
        ...


@runtime_checkable
class RegistrationMethod(Method, Protocol):
    """A method that a new identity can be created with."""

    async def registration_form(self, unit: Unit, view: MethodView) -> Form:
        """Return the method's own nodes of the registration form. The handler adds traits and CSRF token.

        Where `view.context` is that of an enrolment whose traits were incomplete, the nodes are those that continue it.
        """
        ...

    def missing(self, submitted: Mapping[str, Any]) -> Sequence[FieldError]:
        """Return errors for the method's own fields that are missing, shown together with mistakes in the traits."""
        ...

    async def submit_registration(
        self,
        unit: Unit,
        input: MethodInput,  # noqa: A002 - the protocol's word
    ) -> Ask | Redirect | StartOver | Enrolment:
        """Return the step that follows; `input.traits` is set. Raises `SubmissionRejected` or `Busy`."""
        ...


@runtime_checkable
class BringsTraits(RegistrationMethod, Protocol):
    """A method that registers with traits of its own. `submit_registration` is called whether or not those that were
    typed are valid, and nothing is extracted from them; the traits of its enrolment are validated instead.
    """

    brings_traits: bool


@runtime_checkable
class LinkingMethod(Method, Protocol):
    """A method whose enrolments can be added to an account that exists already (`Enrolment.link`)."""

    def linked_to(self, identity: Identity, enrolled: NewCredential) -> NewCredential:
        """Return the account's credential of this type with the enrolled one added. Raises `SubmissionRejected` where
        the account cannot have it."""
        ...

    def confirm_form(self, owner: Identity | None, *, enrolled: NewCredential) -> Form:
        """Return the nodes with which the owner of an account proves it by this method; none where this method cannot
        prove this account. Where `owner` is None, the nodes of every way but the one that `enrolled` has come by: that
        one would lead to the same question again."""
        ...


@runtime_checkable
class OwnersWay(LoginMethod, Protocol):
    """A method that signs in in several ways, of which an account has some, such as providers."""

    def sign_in_form(self, owner: Identity) -> Form:
        """Return the nodes of the ways that this account has, for logins that show them for every given name."""
        ...


@runtime_checkable
class SettingsMethod(Method, Protocol):
    """A method whose credentials the signed-in identity adds, changes or removes."""

    async def settings_form(self, unit: Unit, view: MethodView) -> Form:
        """Return the method's own nodes of the settings form; `view.identity` is set."""
        ...

    async def submit_settings(
        self,
        unit: Unit,
        input: MethodInput,  # noqa: A002 - the protocol's word
    ) -> Step | CredentialChange | TraitsChange:
        """Return the step that follows; `input.identity` is set. Raises `SubmissionRejected` or `Busy`."""
        ...


@runtime_checkable
class OmitsToken(SettingsMethod, Protocol):
    """A method whose settings body has no `csrf_token` in the contract, so that published clients leave it out
    (`updateSettingsFlowWithOidcMethod`).
    """

    omits_token: bool


@runtime_checkable
class RecoveryMethod(Method, Protocol):
    """A method that proves an identity by one of its recovery addresses, such as a mailed code."""

    async def recovery_form(self, unit: Unit, view: MethodView) -> Form:
        """Return the method's own nodes of the recovery form."""
        ...

    async def submit_recovery(self, unit: Unit, input: MethodInput) -> Step:  # noqa: A002 - the protocol's word
        """Return the step that follows. `Ask` has the same answer for unknown addresses. Raises `SubmissionRejected`
        or `TooManyRequests`."""
        ...


@runtime_checkable
class VerificationMethod(Method, Protocol):
    """A method that shows that an address belongs to the account that has it."""

    async def verification_form(self, unit: Unit, view: MethodView) -> Form:
        """Return the method's own nodes of the verification form."""
        ...

    async def submit_verification(self, unit: Unit, input: MethodInput) -> Step | Verified:  # noqa: A002
        """Return the step that follows. Raises as `submit_recovery` does."""
        ...

    def has_mailed(self, view: MethodView, secret: str) -> bool:
        """Return whether this is the code, or the token of the link, that was mailed to an account in this flow."""
        ...


@runtime_checkable
class CallbackMethod(Method, Protocol):
    """A method that redirects to another server, which sends the browser back with `input.query`.

    `input.submitted` has the traits and the `transient_payload` that were sent when the browser left; `input.identity`,
    if there is one, was read without its credentials.
    """

    async def callback(self, unit: Unit, input: MethodInput) -> AnyStep:  # noqa: A002 - the protocol's word
        """Return the step that follows, in the flow that redirected. Raises `SubmissionRejected` or a refusal."""
        ...
