"""Showing a form again after a rejected submission, although everything else of its transaction rolls back."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Final

from shopkeeper.credentials.by_mail import WRONG
from shopkeeper.credentials.mailed_nodes import CODE, LINK
from shopkeeper.credentials.steps import SubmissionRejected
from shopkeeper.errors import AnotherAccount, InvalidCredentials
from shopkeeper.flows import store
from shopkeeper.flows.form_filling import filled, with_mistakes
from shopkeeper.flows.handler import Turn
from shopkeeper.flows.outcomes import FlowInvalid
from shopkeeper.signin.hooks import HookRefused
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import message

ANOTHER_ACCOUNT: Final = 4010091


@contextmanager
def rejections_shown(
    unit: Unit, turn: Turn, *, now: datetime, but: tuple[type[SubmissionRejected | InvalidCredentials], ...] = ()
) -> Iterator[None]:
    """Store the form with the messages of a rejected submission, although everything else of the unit rolls back.

    Raises `FlowInvalid` with that form; rejections of the types in `but` pass as they are, as do refusals of hooks that
    no form shows.
    """
    try:
        yield
    except but:
        raise
    except (SubmissionRejected, InvalidCredentials, HookRefused) as refused:
        rejected = _rejected(turn, refused)
        if rejected is None:
            raise
        invalid = form_with_mistakes(turn, rejected, now=now)
        unit.always(*store.keeping(invalid.flow))
        raise invalid from refused


def _rejected(turn: Turn, refused: SubmissionRejected | InvalidCredentials | HookRefused) -> SubmissionRejected | None:
    if isinstance(refused, SubmissionRejected):
        return refused
    # Recovery and verification ask for no password, and their links open a new flow instead of this form.
    if isinstance(refused, AnotherAccount):
        return SubmissionRejected(message(ANOTHER_ACCOUNT))
    wrong = WRONG.get((turn.flow.kind, CODE), 4000006)
    shown = refused.refuse.shown if isinstance(refused, HookRefused) else wrong
    return SubmissionRejected(message(shown)) if shown is not None else None


def refused_links(turn: Turn) -> tuple[type[InvalidCredentials], ...]:
    """Return the refusals of a link's proof that no form is shown again for."""
    return (InvalidCredentials,) if turn.by_link and (turn.flow.kind, LINK) in WRONG else ()


def form_with_mistakes(turn: Turn, rejected: SubmissionRejected, *, now: datetime) -> FlowInvalid:
    """Return the form with what was typed and the messages; the caller stores and raises it."""
    typed = filled(turn.flow, turn.submission.fields if rejected.filled else {})
    return FlowInvalid(replace(with_mistakes(typed, rejected), updated_at=now))
