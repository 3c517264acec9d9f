""" "Keep me signed in": a checkbox of ours on the forms that sign in or register.

Ory's clients see it only where it is switched on. The choice stays with the flow, so that it survives forms of several
steps, also where a client leaves the field out of the later ones. Without a choice nobody is kept signed in.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

from shopkeeper.flows.flow import KEEP_SIGNED_IN, LOGIN, REGISTRATION, Caller, Flow, Submission
from shopkeeper.identity.values import Aal
from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import input_node

FIELD: Final = "keep_signed_in"
_FLOWS: Final = frozenset({LOGIN, REGISTRATION})
_CHECKED: Final = frozenset({"true", "on"})
_LABEL: Final = 1079001


@dataclass(frozen=True, slots=True)
class KeepSignedIn:
    """The choice, or nothing where it is not `enabled`."""

    enabled: bool = False

    def noted(self, flow: Flow, submission: Submission) -> Flow:
        """Return the flow with the choice of a submission; with the earlier one where it has none."""
        if not self._asked_in(flow) or FIELD not in submission.fields:
            return flow
        return flow.choosing(_checked(submission.fields[FIELD]))

    def shown(self, flow: Flow) -> Flow:
        """Return the flow with the checkbox ahead of the first button, if its form has one."""
        if not self._asked_in(flow):
            return flow
        others = [node for node in flow.nodes if node.name != FIELD]
        first = next((i for i, node in enumerate(others) if node.attributes.get("type") == "submit"), None)
        if first is None:
            return flow
        box = input_node(FIELD, "checkbox", group="default", value=_chosen(flow), label=message(_LABEL))
        return replace(flow, nodes=(*others[:first], box, *others[first:]))

    def choice(self, flow: Flow, caller: Caller) -> bool | None:
        """Return whether a session that starts now is kept; None where nobody is asked. A session that confirms another
        one takes over its choice."""
        if not self.enabled:
            return None
        if flow.refresh and caller.session is not None:
            return caller.session.kept
        return self._asked_in(flow) and _chosen(flow)

    def _asked_in(self, flow: Flow) -> bool:
        """Whether the form is one that starts the first session; confirming or elevating one asks nothing."""
        return self.enabled and flow.kind in _FLOWS and not flow.refresh and flow.requested_aal is Aal.AAL1


def _chosen(flow: Flow) -> bool:
    return flow.context.get(KEEP_SIGNED_IN) is True


def _checked(value: Any) -> bool:
    """Read a checkbox: JSON clients send a boolean, forms `true`, or `on` where the page is not ours."""
    return value is True or (isinstance(value, str) and value in _CHECKED)
