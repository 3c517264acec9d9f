"""The verification flow of a sign-in that was refused because no address is verified (`require_verified_address`)."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from shopkeeper.errors import TooManyRequests
from shopkeeper.flows.flow import Caller, FlowType, Opening
from shopkeeper.flows.verification_opener import VerificationOpener
from shopkeeper.identity.values import Identity
from shopkeeper.signin.hooks import HookOrigin
from shopkeeper.storage.database import Unit


class Budget(Protocol):
    """Limits how many mails go to one recipient."""

    async def spend(self, source: str) -> None:
        """Count one. Raises `TooManyRequests`."""
        ...


class RequiredVerification:
    """Opens the flow, and describes it as `continue_with` (contract page section 2.7).

    Args:
        budget: limits the mails, because each refused sign-in sends one.
        ui_url: the address of the verification page.
    """

    def __init__(self, opener: VerificationOpener, *, budget: Budget, ui_url: str) -> None:
        self._opener = opener
        self._budget = budget
        self._ui_url = ui_url

    async def may_mail(self, identity: Identity) -> bool:
        """Count a mail to the identity's address; return False where there were too many. No transaction may be
        open."""
        addresses = self._opener.pending(identity)
        if not self._opener.enabled or not addresses:
            return False
        try:
            await self._budget.spend(f"verification {addresses[0]}")
        except TooManyRequests:
            return False
        return True

    async def open(self, unit: Unit, identity: Identity, origin: HookOrigin) -> Sequence[Mapping[str, Any]]:
        """Open a flow for the identity's first address that is not verified, and return the actions that show it."""
        address = self._opener.pending(identity)[0]
        opening = Opening(
            type=FlowType.BROWSER if origin.browser else FlowType.API,
            request_url=origin.request_url,
            return_to=origin.return_to,
        )
        csrf = (origin.csrf,) if origin.csrf is not None else ()
        caller = Caller(
            client=origin.client,
            store=origin.store,
            locale=origin.locale,
            wished_language=origin.wished_language,
            csrf_tokens=csrf,
        )
        flow = await self._opener.open_for(unit, identity, address, opening=opening, caller=caller)
        shown = {"id": str(flow.id), "verifiable_address": address, "url": f"{self._ui_url}?flow={flow.id}"}
        return [{"action": "show_verification_ui", "flow": shown}]
