"""A credential that waits for the proof of the account that it is to be added to, kept sealed in a login flow.

It ends with its flow. It may hold a provider's tokens, so it is sealed; the account it is for is authenticated with it.
The provider's session is kept with it, because the session that begins with the proof ends with that one, too.
"""

from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

import msgspec

from shopkeeper.credentials.steps import NewCredential, UpstreamSession
from shopkeeper.crypto import KeyRing, Unsealable
from shopkeeper.flows.flow import PENDING_LINK, STANDING, Flow
from shopkeeper.identity.extraction import Address
from shopkeeper.openid.authenticated import usable_hint
from shopkeeper.ui.messages import Message

PURPOSE: Final = "pending links"
"""The purpose of the key ring, for key derivation."""


@dataclass(frozen=True, slots=True)
class PendingLink:
    """A credential, and the only account whose proof adds it.

    Args:
        label: what mails call it.
        upstream: the provider's session that it came from, None where there is none.
        verified: the addresses that the provider has verified.
    """

    identity_id: UUID
    credential: NewCredential
    label: str
    upstream: UpstreamSession | None = None
    verified: tuple[Address, ...] = ()


class _Sealed(msgspec.Struct, frozen=True):
    """What is sealed of a link."""

    credential: NewCredential
    label: str
    upstream: UpstreamSession | None = None
    verified: tuple[Address, ...] = ()


class PendingLinks:
    """Keeps and finds pending links.

    Args:
        keys: the first one seals, all of them open.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def keeping(self, flow: Flow, link: PendingLink, *, standing: Message) -> Flow:
        """Return the flow with a pending link, and the message that says so as long as it is pending."""
        whole = msgspec.json.encode(_Sealed(link.credential, link.label, _bounded(link.upstream), link.verified))
        sealed = self._keys.seal_text(whole, context=_bound_to(flow, link.identity_id))
        kept = {"identity_id": str(link.identity_id), "sealed": sealed, STANDING: standing.to_wire()}
        return flow.remembering(PENDING_LINK, kept)

    def of(self, flow: Flow) -> PendingLink | None:
        """Return the pending link of a flow; None without one, or where it cannot be opened."""
        kept = flow.remembered(PENDING_LINK)
        if not kept:
            return None
        identity_id = UUID(kept["identity_id"])
        try:
            whole = self._keys.open_text(kept["sealed"], context=_bound_to(flow, identity_id))
            link = msgspec.json.decode(whole, type=_Sealed)
        except (Unsealable, msgspec.DecodeError):  # sealed with a secret that is gone, or by an earlier version
            return None
        return PendingLink(identity_id, link.credential, link.label, link.upstream, link.verified)


def without_link(flow: Flow) -> Flow:
    """Return the flow without its pending link."""
    return flow.remembering(PENDING_LINK, {})


def _bounded(upstream: UpstreamSession | None) -> UpstreamSession | None:
    """Return a provider's session without an ID token that is too long to be kept with ours."""
    return replace(upstream, id_token=usable_hint(upstream.id_token)) if upstream is not None else None


def _bound_to(flow: Flow, identity_id: UUID) -> bytes:
    """Return what a link is sealed for. The id of an app's flow changes when its browser comes back."""
    return (flow.exchange_init or flow.id.bytes) + identity_id.bytes
