"""The verification flow of a sign-in that was refused because no address is verified (`require_verified_address`)."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from shopkeeper.credentials.by_mail import Recipient
from shopkeeper.credentials.steps import Unverified
from shopkeeper.errors import TooManyRequests
from shopkeeper.flows.flow import Caller, FlowType, Opening
from shopkeeper.flows.verification_opener import VerificationOpener
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

    async def may_mail(self, address: str | None) -> bool:
        """Count a mail to the address; return False where there were too many. No transaction may be open."""
        if not self._opener.enabled or not address:
            return False
        try:
            await self._budget.spend(f"verification {address}")
        except TooManyRequests:
            return False
        return True

    async def open(self, unit: Unit, unverified: Unverified, origin: HookOrigin) -> Sequence[Mapping[str, Any]]:
        """Open a flow for the address, and return the actions that show it. For a simulated registration, the same is
        done without a mail."""
        recipient = Recipient(unverified.address or "", unverified.identity)
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
        flow = await self._opener.open_for(
            unit, recipient, identity_id=unverified.identity_id, opening=opening, caller=caller
        )
        shown = {"id": str(flow.id), "verifiable_address": recipient.address, "url": f"{self._ui_url}?flow={flow.id}"}
        return [{"action": "show_verification_ui", "flow": shown}]
