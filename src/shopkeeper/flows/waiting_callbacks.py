"""Callbacks that wait for their app: a browser has come back, and nothing is done before the app brings both codes.

The browser may be that of a stranger, whom somebody has sent the provider's address of a flow that they opened
themselves, with traits of their choice. So its callback proves no identity, creates none and links nothing: what the
provider has sent with it waits sealed in the flow. Only who holds both codes of the exchange (`token_exchange.py`) has
opened the flow and has the browser that came back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from shopkeeper.crypto import KeyRing, Unsealable
from shopkeeper.flows import store
from shopkeeper.flows.flow import Flow
from shopkeeper.storage.database import Database, Unit

PURPOSE: Final = "waiting callbacks"
"""The purpose of the key ring, for key derivation."""
_KEY: Final = "_returned"
_TAKEN: Final = {"taken": True}


@dataclass(frozen=True, slots=True)
class WaitingCallback:
    """What another server has sent, by a browser, to the callback of a method. It holds a code that can be redeemed."""

    method: str
    query: Mapping[str, str]


class WaitingCallbacks:
    """Keeps and takes callbacks.

    Args:
        keys: the first one seals, all of them open.
    """

    def __init__(self, database: Database, *, keys: KeyRing) -> None:
        self._database = database
        self._keys = keys

    async def keep(self, unit: Unit, flow: Flow, callback: WaitingCallback) -> Flow:
        """Keep a callback in a flow that this unit holds. The routes of callbacks limit its size."""
        sealed = self._keys.seal_text(msgspec.json.encode(callback), context=flow.id.bytes)
        kept = flow.remembering(_KEY, {"sealed": sealed})
        await unit.write(*store.keeping(kept))
        return replace(kept, version=flow.version + 1)

    async def take(self, flow: Flow) -> tuple[Flow, WaitingCallback] | None:
        """Take the callback out of a flow; only one of several callers gets it. None, too, where it cannot be opened.

        The flow is marked until it is stored again (`under_way`)."""
        sealed = flow.remembered(_KEY)["sealed"]
        async with self._database.unit() as unit:
            taken = await unit.write(*store.keeping(flow.remembering(_KEY, _TAKEN)))
        if taken.rowcount != 1:
            return None
        try:
            plain = self._keys.open_text(sealed, context=flow.id.bytes)
            callback = msgspec.json.decode(plain, type=WaitingCallback)
        except (Unsealable, msgspec.MsgspecError):  # sealed with a secret that is gone
            return None
        return replace(flow.remembering(_KEY, {}), version=flow.version + 1), callback


def waits(flow: Flow) -> bool:
    """Return whether a callback waits in a flow."""
    return "sealed" in flow.remembered(_KEY)


def under_way(flow: Flow) -> bool:
    """Return whether the callback of a flow was taken, and its answer is not stored yet."""
    return flow.remembered(_KEY) == _TAKEN
