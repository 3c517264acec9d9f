"""The verification flow of a sign-in that was refused because no address is verified (`require_verified_address`)."""

from collections.abc import Mapping, Sequence
from typing import Any

from shopkeeper.client import Client
from shopkeeper.credentials.steps import Unverified
from shopkeeper.flows.flow import Caller, FlowType, Opening
from shopkeeper.flows.verification_opener import VerificationOpener, recipient_of
from shopkeeper.signin.hooks import HookOrigin
from shopkeeper.storage.database import Unit


class RequiredVerification:
    """Opens the flow, and describes it as `continue_with` (contract page section 2.7).

    Args:
        ui_url: the address of the verification page.
    """

    def __init__(self, opener: VerificationOpener, *, ui_url: str) -> None:
        self._opener = opener
        self._ui_url = ui_url

    def may_open(self, address: str | None) -> bool:
        """See `OpensVerification`."""
        return self._opener.enabled and bool(address)

    async def may_mail(self, address: str | None, *, client: Client) -> bool:
        """See `OpensVerification`."""
        return bool(address and await self._opener.within_budget([address], client=client))

    async def open(
        self, unit: Unit, unverified: Unverified, origin: HookOrigin, *, mailed: bool
    ) -> Sequence[Mapping[str, Any]]:
        """Open a flow for the address, and return the actions that show it. For a simulated registration, and without
        budget, the same is done without a mail."""
        recipient = recipient_of(unverified.address or "", unverified.identity, mailed=mailed)
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
