"""The forms of recovery and verification, node by node as in Kratos' contract (contract page section 2.3).

The anti-CSRF node comes first, except in a verification by code: there it comes last, and apps get none.
"""

from collections.abc import Sequence
from typing import Final

from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import Node, csrf_node, input_node, submit_node

EMAIL: Final = "email"
CODE: Final = "code"
LINK: Final = "link"
CONTINUE: Final = "continue"


def ask_address(group: str, *, address: str | None = None) -> Sequence[Node]:
    """Return the field for the address, and the button that sends the mail."""
    field = input_node(EMAIL, "email", group=group, value=address, required=True, label=message(1070007))
    return (field, submit_node(group, label=message(1070009)))


def recovery_code(address: str) -> Sequence[Node]:
    """Return the form that asks for a recovery code. Without an address, no other code can be sent."""
    field = input_node(CODE, "text", group=CODE, required=True, pattern="[0-9]+", maxlength=6, label=message(1070010))
    return (csrf_node(), field, _method(), _continue(), *_resend(address))


def verification_code(address: str, *, native: bool) -> Sequence[Node]:
    """Return the form that asks for a verification code."""
    field = input_node(CODE, "text", group=CODE, required=True, label=message(1070011))
    csrf = () if native else (csrf_node(),)
    return (_method(), field, _continue(), *csrf, *_resend(address))


def passed(group: str, url: str) -> Sequence[Node]:
    """Return what is shown after a verification: where to continue."""
    label = message(1070009)
    attributes = {"href": url, "title": label.to_wire(), "id": CONTINUE, "node_type": "a"}
    return (csrf_node(), Node("a", group, attributes, label))


def _method() -> Node:
    return input_node("method", "hidden", group=CODE, value=CODE)


def _continue() -> Node:
    return submit_node(CODE, label=message(1070009))


def _resend(address: str) -> Sequence[Node]:
    if not address:
        return ()
    return (input_node(EMAIL, "submit", group=CODE, value=address, label=message(1070008)),)
