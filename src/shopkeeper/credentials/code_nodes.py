"""The forms of one-time codes, node by node as in Kratos' contract (contract page section 2.3).

The form after a code was sent and the form after a wrong one have the same nodes in different orders; clients have seen
both. After a code was sent, the method's part of the login form has no anti-CSRF node: the handler puts it last, and
leaves it out for native apps.
"""

from collections.abc import Sequence
from typing import Final

from shopkeeper.credentials.method import MethodInput
from shopkeeper.identity.values import Via
from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import Node, csrf_node, input_node, submit_node

GROUP: Final = "code"


def send_button(label: int) -> Node:
    """Return the button that asks for a code."""
    return submit_node(GROUP, label=message(label))


def address_button(via: Via, address: str) -> Node:
    """Return the button that asks for a code at one address of the signed-in account."""
    label = message(1010023, address=address, channel=via.value)
    return input_node("address", "submit", group=GROUP, value=address, label=label)


def login_sent(submission: MethodInput, address: str) -> Sequence[Node]:
    """Return the form that asks for the code which was sent to the address."""
    return (
        _identifier(submission, address),
        *_addresses(submission, address),
        *_sent(1070013, native=submission.native),
    )


def login_wrong(submission: MethodInput, address: str) -> Sequence[Node]:
    """Return the login form after a wrong code."""
    identifier = input_node("identifier", "hidden", group="default", value=address)
    return (csrf_node(), identifier, *_addresses(submission, address), *_wrong(1070013, native=submission.native))


def registration_sent(*, native: bool) -> Sequence[Node]:
    """Return the form that asks for the code which was sent to the addresses of the traits. The handler adds the
    traits."""
    return _sent(1070012, native=native)


def registration_wrong(*, native: bool) -> Sequence[Node]:
    """Return the registration form after a wrong code."""
    return _wrong(1070012, native=native)


def _sent(label: int, *, native: bool) -> Sequence[Node]:
    return (_method(), _code(label, native=native), _continue(), _resend())


def _wrong(label: int, *, native: bool) -> Sequence[Node]:
    return (_code(label, native=native), _resend(), _method(), _continue())


def _code(label: int, *, native: bool) -> Node:
    autocomplete = None if native else "one-time-code"
    return input_node("code", "text", group=GROUP, required=True, autocomplete=autocomplete, label=message(label))


def _method() -> Node:
    return input_node("method", "hidden", group=GROUP, value=GROUP)


def _continue() -> Node:
    return submit_node(GROUP, label=message(1070009))


def _resend() -> Node:
    return input_node("resend", "submit", group=GROUP, value=GROUP, label=message(1070008))


def _identifier(submission: MethodInput, address: str) -> Node:
    """Return the identifier field as the form had it, hidden and filled; a bare one where the form had none."""
    shown = next((node for node in submission.shown if node.name == "identifier" and node.group != GROUP), None)
    if shown is None:
        return input_node("identifier", "hidden", group="default", value=address)
    return shown.without_messages().with_type("hidden").with_value(address)


def _addresses(submission: MethodInput, address: str) -> Sequence[Node]:
    """Return one hidden node for each address that was offered, all with the chosen one as their value."""
    offered = [node for node in submission.shown if node.group == GROUP and node.name in {"address", "identifier"}]
    return [input_node("identifier", "hidden", group=GROUP, value=address, label=node.label) for node in offered]
