"""Which nodes of the methods come before the fields of a form itself, and which after them."""

from collections.abc import Iterable, Sequence

from shopkeeper.credentials.steps import Form
from shopkeeper.ui.nodes import Node


def leading_nodes(forms: Iterable[Form]) -> Sequence[Node]:
    """Return the nodes that come first: buttons that need nothing typed."""
    return [node for form in forms if form.leads for node in form.nodes]


def own_nodes(forms: Iterable[Form]) -> Sequence[Node]:
    """Return the nodes that follow the fields of the form itself."""
    return [node for form in forms if not form.leads for node in form.nodes]
