"""Steps: what a method or a flow handler answers to a submission, as values. `flows/dispatch.py` acts on them.

    Ask               show another form; what was written stays
    Redirect          send the browser to another server, which sends it back to a callback
    StartOver         the flow cannot continue; a replacement is opened
    Proof             an identity was proven: sign in, or elevate the session
    Enrolment         a new identity with its credentials
    CredentialChange  credentials of the identity that is signed in
    TraitsChange      traits of the identity that is signed in
    Verified          an address belongs to the identity that has it
    Unverified        signing in needs a verified address first

`SubmissionRejected` is an exception instead: it rolls back and shows the same form with messages.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from shopkeeper.errors import Refusal
from shopkeeper.identity.memberships import GivenGroups
from shopkeeper.identity.values import Aal, Identity, Via
from shopkeeper.openid.authenticated import OneUse
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import Message
from shopkeeper.ui.nodes import Node

Effect: TypeAlias = Callable[[Unit], Awaitable[None]]
"""Local writes of a method, such as a new hash or a queued mail. Runs inside the transaction of the submission."""

FormScope: TypeAlias = Literal["form", "group"]
Update: TypeAlias = Callable[[Unit, Identity], Awaitable[Identity]]
"""A change of the identity itself, which is locked. Returns it as it is afterwards."""

IdentifierField: TypeAlias = Literal["none", "hidden", "text"]


@dataclass(frozen=True, slots=True)
class Form:
    """A method's nodes, and what the method must keep until the next submission of this flow.

    Args:
        nodes: the nodes, in the order in which they are shown.
        context: stored with the flow and passed to the method's next call; it never leaves the server. JSON values
            only. Seal secrets that can be used as they are; hash those that only have to be compared.
        scope: "form" replaces the whole form, "group" the nodes of the method's own group.
        identifier: how the form that confirms a session shows the identifier for this method. Of several methods the
            most demanding one decides.
        leads: whether the nodes come before the fields of the form itself, as the buttons of providers do.
    """

    nodes: Sequence[Node]
    context: Mapping[str, Any] = field(default_factory=dict)
    scope: FormScope = "group"
    identifier: IdentifierField = "hidden"
    leads: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """Show another form of the same flow. Commits `effect` and the form; the contract answers most of these with 400.

    Args:
        state: the flow's new state, such as "sent_email"; unchanged if None.
        active: the flow's active method; the method that asks if None.
        transient_payload: what the answer shows under this key; None leaves the key out.
    """

    form: Form
    state: str | None = None
    active: str | None = None
    messages: Sequence[Message] = ()
    status: int = 400
    transient_payload: Mapping[str, Any] | None = None
    effect: Effect | None = None


@dataclass(frozen=True, slots=True)
class Redirect:
    """Send the browser to another server: 303 for HTML, 422 `browser_location_change_required` for JSON.

    The URL carries the `state` of `MethodInput.callback`, by which the pipeline finds the flow when the browser comes
    back. `context` replaces what the method stored.
    """

    url: str
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StartOver:
    """The flow cannot continue. The dispatcher opens its replacement, which shows the messages.

    `keeps_flow` leaves the old flow open: a wrong link, or a form of another browser, must not end it for its owner.
    `refusal` is the reason, where there is one besides the messages. `shows_end` has the replacement show the end of
    the flow instead of its beginning, for who has shown once more what ended it.
    """

    messages: Sequence[Message] = ()
    keeps_flow: bool = False
    refusal: Refusal | None = None
    shows_end: bool = False


@dataclass(frozen=True, slots=True)
class LastAttempt:
    """The attempt that ends its flow, because its secret was right. It is counted by the statement that ends the flow.

    Args:
        most: how many attempts the flow allows.
        too_many: the step where it has had them before.
    """

    most: int
    too_many: StartOver


@dataclass(frozen=True, slots=True)
class UpstreamSession:
    """The session at an identity provider that a proof came from; stored with ours (`signin/provider_sessions.py`).

    Args:
        provider: the id of the configured provider.
        sid: the provider's session (OpenID Connect Back-Channel Logout 1.0, section 2.1); None where it names none.
        id_token: as the provider issued it, for a sign-out that leads there; None without one.
        one_use: of a token that signs in once, as in `Authenticated`.
    """

    provider: str
    issuer: str
    subject: str
    sid: str | None = None
    id_token: str | None = field(default=None, repr=False)
    one_use: OneUse | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """An identity was proven by a method.

    Args:
        still_valid: called with the identity as it is under the lock; returns False where what was checked has changed
            since.
        else_valid: asked under the lock, too, where `still_valid` returns False; reads what that cannot see.
        attempt: the attempt that proved it, where the flow counts attempts and this one was not counted yet.
        amr: the name that the session shows for this proof, the method's own if None (such as "code_recovery").
        provider: the identity provider that proved the identity, for social sign-in.
        verified: addresses that the proof has shown to belong to the identity.
        takes_over: whether credentials end that were set before any address of the identity was verified: whoever
            registered it need not be the owner of the address.
        recovers: whether the account is recovered, after which no former address may undo a change.
        upstream: the provider's session, for social sign-in.
        update: brings the identity up to date with what the provider says.
        ends_at: when the proof ends, and with it the session that is started; None for a proof that lasts.
    """

    identity_id: UUID
    method: str
    aal: Aal
    still_valid: Callable[[Identity], bool]
    amr: str | None = None
    provider: str | None = None
    verified: Sequence[tuple[Via, str]] = ()
    effect: Effect | None = None
    takes_over: bool = False
    recovers: bool = False
    else_valid: Callable[[Unit, Identity], Awaitable[bool]] | None = None
    attempt: LastAttempt | None = None
    upstream: UpstreamSession | None = None
    update: Update | None = None
    ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A credential to be stored. Identifiers count only for types whose identifiers are not traits."""

    type: str
    config: Mapping[str, Any]
    identifiers: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class LinkOffer:
    """An enrolment can be added to the account that has its address already, instead of registering another one.

    Args:
        label: what messages call this way to sign in, such as the name of the provider.
        automatic: whether it is added without another proof, where both the enrolment and the account have verified the
            address. In every other case the account's owner signs in first.
    """

    label: str
    automatic: bool = False


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A new identity: its traits and credentials. Nothing is written yet.

    Args:
        credentials: stored with the identity; may be empty where the traits are enough to sign in (one-time codes).
        verified: addresses that were shown to belong to the new identity.
        context: what the method must keep if the registration asks for more traits first.
        metadata_public, metadata_admin: stored with the identity (contract page section 4.1).
        aal, amr, provider, upstream: as in `Proof`, for the session that registering may start.
        attempt: as in `Proof`.
        groups: those that its provider gives it.
        when_simulated: runs inside the transaction with the identity that was only simulated, because an identifier is
            taken; with None where one was created, to do as much work.
        link: set where the method is a `LinkingMethod`; None where a taken address is only told as taken.
    """

    traits: Mapping[str, Any]
    credentials: Sequence[NewCredential]
    method: str
    verified: Sequence[tuple[Via, str]] = ()
    context: Mapping[str, Any] = field(default_factory=dict)
    metadata_public: Any = None
    metadata_admin: Any = None
    aal: Aal = Aal.AAL1
    amr: str | None = None
    provider: str | None = None
    effect: Effect | None = None
    attempt: LastAttempt | None = None
    when_simulated: Callable[[Unit, Identity | None], Awaitable[None]] | None = None
    upstream: UpstreamSession | None = None
    link: LinkOffer | None = None
    groups: GivenGroups | None = None


@dataclass(frozen=True, slots=True)
class CredentialChange:
    """Credentials of the signed-in identity: each is stored in place of the one of its type; None removes it.

    Args:
        revise: returns further changes, from the identity as it is under the lock: for credentials that hold several
            things, one of which changes. It may raise `SubmissionRejected`.
        taken: what the form says where another account has an identifier of these credentials.
        linked: what the mail to the owner calls the way to sign in that is added, such as the name of a provider.
        upstream: the provider's session that an added account came from.
        proof: set where enrolling a factor also proves it; the session is elevated by it.
    """

    changes: Mapping[str, NewCredential | None] = field(default_factory=dict)
    proof: Proof | None = None
    effect: Effect | None = None
    revise: Callable[[Identity], Mapping[str, NewCredential | None]] | None = None
    taken: Message | None = None
    linked: str | None = None
    upstream: UpstreamSession | None = None


@dataclass(frozen=True, slots=True)
class TraitsChange:
    """Other traits of the signed-in identity, valid by its schema.

    Args:
        before: the traits that the change was made from; it is refused where they have changed meanwhile.
        privileged: whether an identifier or an address changes.
    """

    traits: Mapping[str, Any]
    before: Mapping[str, Any]
    privileged: bool = False


@dataclass(frozen=True, slots=True)
class Verified:
    """An address was shown to belong to the identity that has it. No session starts."""

    identity_id: UUID
    method: str
    address: tuple[Via, str]
    effect: Effect | None = None


@dataclass(frozen=True, slots=True)
class Unverified:
    """The secret is that of an account none of whose addresses is verified, where signing in needs one, or of a
    registration that was only simulated. Both get the same answer after the same work.

    Args:
        identity: the account; None for a simulated registration.
        identity_id: the account's id, or that of the simulated registration.
        address: the address to verify first, if there is one.
    """

    method: str
    identity: Identity | None
    identity_id: UUID
    address: str | None


Step: TypeAlias = Proof | Ask | Redirect | StartOver | Unverified
AnyStep: TypeAlias = Step | Enrolment | CredentialChange | TraitsChange | Verified


@dataclass(frozen=True, slots=True)
class FieldError:
    """A message that belongs to one node of the form."""

    name: str
    message: Message


class SubmissionRejected(Exception):
    """The submission is not acceptable: the form is shown again with these messages, and everything else rolls back.

    `general` are shown above the form, `fields` at their nodes. `filled` says whether the form shows what was typed.
    """

    def __init__(self, *general: Message, fields: Sequence[FieldError] = (), filled: bool = True) -> None:
        super().__init__(", ".join(str(m.id) for m in (*general, *(f.message for f in fields))))
        self.general = general
        self.fields = tuple(fields)
        self.filled = filled
