"""The `state` that another server is given: sealed, so that it names its flow to this server only.

A flow awaits the last one that it has given away, once (`callbacks.py`). A browser can still come with another: by a
second click, by reloading, from another tab. The state says then which flow it comes from.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from shopkeeper.crypto import KeyRing, Unsealable
from shopkeeper.flows.flow import Flow
from shopkeeper.flows.token_exchange import exchanges

PURPOSE: Final = "callback states"
"""The purpose of the key ring, for key derivation."""
LONGEST: Final = 256
"""Characters: longer ones are not opened."""
_ID_BYTES: Final = 16
_FOR_APP, _FOR_BROWSER = b"\x01", b"\x00"


@dataclass(frozen=True, slots=True)
class Left:
    """What a flow was left as: its id of then, and whether an app waited for its end with codes."""

    flow_id: UUID
    kind: str
    for_app: bool


class CallbackStates:
    """Makes states and reads them.

    Args:
        keys: the first one seals, all of them open.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def new(self, flow: Flow, *, method: str) -> str:
        """Return a state for a method's callback: another one each time (RFC 6749 section 10.12)."""
        whose = _FOR_APP if exchanges(flow) else _FOR_BROWSER
        return self._keys.seal_text(flow.id.bytes + whose + flow.kind.encode(), context=_bound(method))

    def left(self, state: str, *, method: str) -> Left | None:
        """Return what a state was made for; None where it is not ours, or of another method."""
        if len(state) > LONGEST:
            return None
        try:
            plain = self._keys.open_text(state, context=_bound(method))
        except Unsealable:
            return None
        whose = plain[_ID_BYTES : _ID_BYTES + 1]
        return Left(UUID(bytes=plain[:_ID_BYTES]), plain[_ID_BYTES + 1 :].decode(), for_app=whose == _FOR_APP)


def _bound(method: str) -> bytes:
    return method.encode("utf-8", "surrogatepass")
