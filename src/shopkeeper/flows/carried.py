"""What was sent before a flow led elsewhere: kept with the flow, and with the flow that takes its place.

A browser that comes back from another server sends nothing of it again: neither the traits that were typed, nor what
the client hands on to hooks and mails, nor the choice to be kept signed in.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from shopkeeper.credentials.steps import SubmissionRejected
from shopkeeper.flows.flow import KEEP_SIGNED_IN, Flow, Submission
from shopkeeper.ui.messages import reason

LARGEST: Final = 20_000
"""Bytes of what is kept, as JSON. The flows are open to everybody."""
_KEY: Final = "_carried"
_PAYLOAD: Final = "transient_payload"
_TOO_LARGE: Final = "The form has too much to be kept while you are away: more than {limit} bytes."
_TRAITS_TOO_LARGE: Final = "The traits have more than {limit} bytes."


def carrying(flow: Flow, submission: Submission) -> Flow:
    """Return the flow with what it must keep of a submission; with the earlier one's where this has none.

    Raises `SubmissionRejected` where it is too large.
    """
    sent = {name: value for name, value in submission.fields.items() if _is_kept(name, value)}
    whole = {**flow.remembered(_KEY), **sent}
    if len(json.dumps(whole).encode()) > LARGEST:
        raise SubmissionRejected(reason("too_large_to_keep", _TOO_LARGE, limit=LARGEST), filled=False)
    return flow.remembering(_KEY, whole)


def refuse_large_traits(traits: Mapping[str, Any]) -> None:
    """Raise `SubmissionRejected` where traits are too large, which were sent with a form that does not ask for them:
    they may wait in a flow for others."""
    if len(json.dumps(traits).encode()) > LARGEST:
        raise SubmissionRejected(reason("traits_too_large", _TRAITS_TOO_LARGE, limit=LARGEST), filled=False)


def with_carried(flow: Flow, submission: Submission) -> Submission:
    """Return a submission with what was kept; what it has itself counts."""
    return replace(submission, fields={**flow.remembered(_KEY), **submission.fields})


def with_payload(flow: Flow, submission: Submission) -> Submission:
    """Return a submission with the `transient_payload` that was sent before; what it has itself counts."""
    kept = {name: value for name, value in flow.remembered(_KEY).items() if name == _PAYLOAD}
    return replace(submission, fields={**kept, **submission.fields}) if kept else submission


def taken_over(old: Flow, fresh: Flow) -> Flow:
    """Return the flow that takes the place of another one, with what was kept in that, for the same app."""
    kept = {name: old.context[name] for name in (_KEY, KEEP_SIGNED_IN) if name in old.context}
    return replace(fresh, context={**fresh.context, **kept}).for_app_of(old)


def _is_kept(name: str, value: Any) -> bool:
    if name == "traits":
        return isinstance(value, Mapping)
    return (name == _PAYLOAD and isinstance(value, Mapping)) or name.startswith("traits.")
