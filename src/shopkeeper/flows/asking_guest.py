"""The guest who has asked for a mail, whose cart comes along where its link is opened on another device.

The receiver of the mail proves the account; the cart belongs to the visitor who asked. They may be strangers: anybody
can ask for a mail to somebody else's address, and must not put things into their cart. So the cart comes along only
where the link is opened in the network that it was asked from. Elsewhere it stays with the guest, who still has it, and
merges it by signing in there. A cart is only ever added to the customer's, and the guest's visit is closed by it, so
that nothing of the customer's cart can be seen by whoever asked.
"""

from dataclasses import replace

from shopkeeper.flows.flow import GUEST, RECOVERY, Caller, Flow
from shopkeeper.throttle import network_of


def remembering_guest(flow: Flow, caller: Caller) -> Flow:
    """Return the flow with the guest who asks for a mail, if there is one."""
    if flow.kind != RECOVERY or caller.guest is None or caller.session is not None:
        return flow
    kept = {"id": caller.guest, "network": network_of(caller.client.ip)}
    return replace(flow, context={**flow.context, GUEST: kept})


def asking_guest(flow: Flow, caller: Caller) -> str | None:
    """Return the guest whose cart comes along with a link, or None where the two may be strangers."""
    kept = flow.context.get(GUEST)
    if not isinstance(kept, dict) or kept.get("network") != network_of(caller.client.ip):
        return None
    guest = kept.get("id")
    return guest if isinstance(guest, str) else None
