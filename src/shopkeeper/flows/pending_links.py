"""A credential that waits for the proof of the account that it is to be added to, kept sealed in a login flow.

It ends with its flow. It may hold a provider's tokens, so it is sealed; the account it is for is authenticated with it.
"""

import json
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from shopkeeper.credentials.steps import NewCredential
from shopkeeper.crypto import KeyRing, Unsealable
from shopkeeper.flows.flow import Flow

PURPOSE: Final = "pending links"
"""The purpose of the key ring, for key derivation."""
_KEY: Final = "_link"


@dataclass(frozen=True, slots=True)
class PendingLink:
    """A credential, and the only account whose proof adds it. `label` is what mails call it."""

    identity_id: UUID
    credential: NewCredential
    label: str


class PendingLinks:
    """Keeps and finds pending links.

    Args:
        keys: the first one seals, all of them open.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def keeping(self, flow: Flow, link: PendingLink) -> Flow:
        """Return the flow with a pending link."""
        credential = link.credential
        whole = {
            "type": credential.type,
            "config": dict(credential.config),
            "identifiers": list(credential.identifiers),
            "label": link.label,
        }
        sealed = self._keys.seal_text(json.dumps(whole).encode(), context=_bound_to(flow, link.identity_id))
        return flow.remembering(_KEY, {"identity_id": str(link.identity_id), "sealed": sealed})

    def of(self, flow: Flow) -> PendingLink | None:
        """Return the pending link of a flow; None without one, or where it cannot be opened."""
        kept = flow.remembered(_KEY)
        if not kept:
            return None
        identity_id = UUID(kept["identity_id"])
        try:
            whole = json.loads(self._keys.open_text(kept["sealed"], context=_bound_to(flow, identity_id)))
        except Unsealable:  # sealed with a secret that is gone
            return None
        credential = NewCredential(whole["type"], whole["config"], tuple(whole["identifiers"]))
        return PendingLink(identity_id, credential, whole["label"])


def without_link(flow: Flow) -> Flow:
    """Return the flow without its pending link."""
    return flow.remembering(_KEY, {})


def _bound_to(flow: Flow, identity_id: UUID) -> bytes:
    return flow.id.bytes + identity_id.bytes
