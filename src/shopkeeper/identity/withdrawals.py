"""Whether a credential ended because it was set before any address of its identity was verified.

The audit trail knows it: the credential itself is gone. Once its events are deleted, nobody can be told any more.
"""

from typing import Final
from uuid import UUID

from shopkeeper.storage.audit import Audit
from shopkeeper.storage.database import Unit

CREDENTIALS_CHANGED: Final = "identity.credentials_changed"
"""The action in the audit trail of every change of credentials; its details have their `types`."""
SET_BEFORE_VERIFIED: Final = "set before any address was verified"
"""The `reason` in the details of a change that ended credentials of that kind."""
_LATEST: Final = 50
"""At most so many changes are read."""


class Withdrawals:
    """Reads from the audit trail how credentials ended."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    async def ended(self, unit: Unit, identity_id: UUID, type_: str) -> bool:
        """Return whether the last change of an identity's credential of a type was such an end."""
        events = await self._audit.events(unit, action=CREDENTIALS_CHANGED, subject=str(identity_id), limit=_LATEST)
        of_type = (event.details for event in events if type_ in event.details.get("types", ()))
        last = next(of_type, None)
        return last is not None and last.get("reason") == SET_BEFORE_VERIFIED
