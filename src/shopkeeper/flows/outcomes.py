"""The outcomes of a submission, for the routes, which answer each kind of client in its own way."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from shopkeeper.errors import FlowExpired, Refusal
from shopkeeper.flows.continue_with import ContinueWith
from shopkeeper.flows.flow import Flow
from shopkeeper.identity.values import Identity
from shopkeeper.signin.completion import SignedIn


@dataclass(frozen=True, slots=True)
class Completed:
    """The flow has ended.

    Args:
        ended_as: the kind of flow whose end this is, and whose answer follows; the form may be of another one
            (`ends_as`).
        next: the URL that the browser goes to.
        follow: the flow that the browser goes to instead of `next`, such as settings after recovery.
        continue_with: what the client can show next.
        signed_in: the session that started or was elevated, if any.
        guest: the anonymous visitor that the caller was until now.
    """

    flow: Flow
    ended_as: str
    identity: Identity
    next: str
    signed_in: SignedIn | None = None
    guest: str | None = None
    follow: Flow | None = None
    sign_in: Flow | None = None
    """The login form that a browser without JavaScript sees after registering without a session."""
    shows_next: bool = False
    """Whether a browser without JavaScript goes to what `continue_with` shows."""
    csrf_token: bytes | None = None
    """The browser's new anti-CSRF token, which the flows that follow are bound to."""
    continue_with: Sequence[ContinueWith] = ()


@dataclass(frozen=True, slots=True)
class Updated:
    """The flow stays open and shows this form.

    Args:
        signed_in: the session that was elevated, or has made the change.
        continue_with: what the client can show next.
        saved: whether something was changed.
        csrf_token: the browser's new anti-CSRF token, where credentials were changed: forms from before are worth
            nothing then.
        next: where a browser goes instead of the form, if that was asked for.
        shows_next: whether a browser without JavaScript goes to what `continue_with` shows.
    """

    flow: Flow
    status: int = 400
    signed_in: SignedIn | None = None
    continue_with: Sequence[ContinueWith] = ()
    saved: bool = False
    csrf_token: bytes | None = None
    next: str | None = None
    shows_next: bool = False


@dataclass(frozen=True, slots=True)
class RedirectedAway:
    """The browser goes to another server. `cookie` binds it to the flow for the time when it comes back; None where the
    codes of an app do."""

    flow: Flow
    url: str
    cookie: str | None


@dataclass(frozen=True, slots=True)
class BackToApp:
    """The browser goes back to the app that waits for this flow, at the URL."""

    flow: Flow
    url: str


@dataclass(frozen=True, slots=True)
class LedOn:
    """The browser has come back once more, nothing was done, and it goes to where the flow leads, at the URL."""

    flow: Flow
    url: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """The flow could not continue; `fresh` takes its place. `refusal` is the reason, where there is one besides the
    messages of `fresh`."""

    flow: Flow
    fresh: Flow
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Diverted:
    """The flow has ended, and another one asks for what is missing: traits, or the proof of an account. The client is
    shown that one as if it was its own, as in the contract."""

    flow: Flow
    fresh: Flow


FlowOutcome: TypeAlias = Completed | Updated | RedirectedAway | Replaced | Diverted | BackToApp | LedOn


class FlowInvalid(Refusal):
    """The form is shown again with messages; nothing else of the submission is stored."""

    code, status = "flow_invalid", 400
    message = "The form is not complete yet."

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow


class FlowRefused(Exception):
    """A refusal of a submission, with the flow that was read for it, so that the route need not read it again."""

    def __init__(self, flow: Flow, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.flow = flow
        self.refusal = refusal


@contextmanager
def refusals_with(flow: Flow) -> Iterator[None]:
    """Attach the flow to a refusal, so that the route need not read it again."""
    try:
        yield
    except FlowInvalid:
        raise
    except Refusal as refusal:
        raise FlowRefused(flow, refusal) from refusal


def finished(flow: Flow) -> FlowExpired:
    """Return the refusal of a flow that has ended."""
    ended_at = flow.finished_at or flow.updated_at
    return FlowExpired(
        "This form has done its work already; open a new one.", expired_at=min(ended_at, flow.expires_at)
    )
