"""The browser that follows a mailed link to a form, beside the client that opened it.

Mail scanners follow links, and people on another device than the one they began on. So the flow keeps its type and its
browser: who opened it can go on. The follower sees it as a browser's flow of its own, with the code of the link filled
in. The opener does not see that code: who asks for a mail to an address need not own it. The last follower counts.
"""

from dataclasses import replace
from typing import Final

from shopkeeper import crypto
from shopkeeper.flows.flow import FOLLOWER, Caller, Flow, FlowType, csrf_digest
from shopkeeper.ui.nodes import Node, csrf_node

_CODE: Final = "code"


def followed(flow: Flow, caller: Caller, *, code: str = "") -> Flow:
    """Return the flow with the caller's browser as its follower, and the code of the link."""
    if caller.csrf is None:
        return flow
    follower = {"csrf": csrf_digest(caller.csrf).hex(), "code": code}
    return replace(flow, context={**flow.context, FOLLOWER: follower})


def forgetting_code(flow: Flow) -> Flow:
    """Return the flow without the code of the link, because it was tried, or another one was sent."""
    if flow.follower is None:
        return flow
    return replace(flow, context={**flow.context, FOLLOWER: {**flow.context[FOLLOWER], "code": ""}})


def seen_by(flow: Flow, caller: Caller) -> Flow:
    """Return the flow as the caller may see it: the follower as a browser's flow, anybody else without the code."""
    if flow.follower is None:
        return flow
    if not any(crypto.same(csrf_digest(token), flow.follower) for token in caller.csrf_tokens):
        return replace(flow, nodes=tuple(_without_code(node) for node in flow.nodes))
    code = str(flow.context[FOLLOWER].get("code", ""))
    nodes = [node.with_value(code) if _asks_for_code(node) and code else node for node in flow.nodes]
    if not any(node.name == "csrf_token" for node in nodes):
        nodes.append(csrf_node())
    return replace(flow, type=FlowType.BROWSER, nodes=tuple(nodes))


def _without_code(node: Node) -> Node:
    return node.with_value(None) if _asks_for_code(node) and node.value else node


def _asks_for_code(node: Node) -> bool:
    return node.name == _CODE and node.attributes.get("type") == "text"
