"""What every end of a flow has in common: the verification of addresses, the settled cart merge, and the outcome."""

from collections.abc import Sequence
from dataclasses import replace

from shopkeeper.flows.continue_with import ContinueWith
from shopkeeper.flows.flow import Opening
from shopkeeper.flows.handler import FlowHandler, ShowsVerification, Turn
from shopkeeper.flows.outcomes import Completed
from shopkeeper.flows.return_to import ReturnAddresses
from shopkeeper.flows.verification_opener import VerificationOpener
from shopkeeper.identity.values import Identity
from shopkeeper.signin.completion import SignedIn, SignInCompletion
from shopkeeper.storage.database import Unit


class FlowEndings:
    """Ends flows.

    Args:
        names_verification: whether `continue_with` has the verification flows that were opened in any case, and not
            only where the hook `show_verification_ui` has them shown.
    """

    def __init__(
        self,
        *,
        completion: SignInCompletion,
        return_addresses: ReturnAddresses,
        verifications: VerificationOpener | None = None,
        names_verification: bool = False,
    ) -> None:
        self._completion = completion
        self._return = return_addresses
        self._verifications = verifications
        self._names_verification = names_verification

    async def verify_later(
        self,
        unit: Unit,
        turn: Turn,
        identity: Identity,
        *,
        mailed: frozenset[str],
        csrf: bytes,
        real: bool = True,
    ) -> tuple[Identity, Sequence[ContinueWith]]:
        """Open a verification flow for each address of an identity that is not verified, and mail those in `mailed`; a
        simulated identity gets the same flows, without mails."""
        opener = self._verifications
        if opener is None or not opener.enabled:
            return identity, ()
        flow = turn.flow
        return_to = self._return.after_verification(flow.request_url) or flow.return_to
        return await opener.open_each(
            unit,
            identity,
            opener.pending(identity),
            mailed=mailed,
            opening=Opening(type=flow.type, request_url=flow.request_url, return_to=return_to),
            caller=replace(turn.caller, csrf_tokens=(csrf,)),
            real=real,
        )

    async def completed(
        self, handler: FlowHandler, turn: Turn, method: str, identity: Identity, signed_in: SignedIn | None
    ) -> Completed:
        """Settle the cart merge after the commit, and return the outcome."""
        settled = await self._completion.settle(signed_in) if signed_in is not None else None
        return Completed(
            flow=turn.flow,
            ended_as=handler.name,
            identity=identity,
            next=self._return.after(handler.settings.after, method=method, return_to=turn.flow.return_to),
            signed_in=settled,
            guest=turn.caller.guest,
        )

    def showing(
        self,
        done: Completed,
        handler: FlowHandler,
        method: str,
        *,
        csrf: bytes,
        verification: Sequence[ContinueWith],
    ) -> Completed:
        """Return the outcome with the browser's new anti-CSRF token, and with the verification flows that were opened
        if the configuration shows them (the hook `show_verification_ui`) or names them always."""
        shows = shows_verification(handler, method)
        named = verification if shows or self._names_verification else ()
        return replace(done, csrf_token=csrf, continue_with=named, shows_next=shows)


def shows_verification(handler: FlowHandler, method: str) -> bool:
    """Return whether a browser is shown the verification of its addresses after a flow."""
    return isinstance(handler, ShowsVerification) and handler.shows_verification(method)
