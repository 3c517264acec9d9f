"""Opening a verification flow for an address, with the mail already sent: after a registration or a new address."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol
from uuid import UUID

from shopkeeper.client import Client
from shopkeeper.clock import Clock
from shopkeeper.credentials.by_mail import Recipient
from shopkeeper.credentials.method import MethodView
from shopkeeper.credentials.steps import Ask
from shopkeeper.flows import store
from shopkeeper.flows.continue_with import ContinueWith, ShowVerification
from shopkeeper.flows.flow import Caller, Flow, FlowState, Opening
from shopkeeper.flows.handler import method_view
from shopkeeper.flows.mailed import Verification
from shopkeeper.flows.opener import blank_flow
from shopkeeper.flows.registrants import Registrants, opened_for
from shopkeeper.identity.values import AddressStatus, Identity, Via
from shopkeeper.notify.recipient_budget import RecipientBudget
from shopkeeper.storage.database import Unit


class StartsVerification(Protocol):
    """A method that can send its mail by itself."""

    name: str

    def start_verification(self, view: MethodView, recipient: Recipient) -> Ask:
        """Return the form after the mail was sent, whose effect queues it."""
        ...


class VerificationOpener:
    """Opens verification flows in the state `sent_email`, and queues their mails, in the caller's transaction.

    Args:
        handler: the flow's handler; its settings say whether there are such flows, and by which method.
        methods: by name.
        registrants: learns that these flows are those of the account's registrant.
        budget: limits the mails, because each sign-in, registration or change may send one.
    """

    def __init__(
        self,
        handler: Verification,
        methods: Mapping[str, StartsVerification],
        *,
        registrants: Registrants,
        budget: RecipientBudget,
        clock: Clock,
    ) -> None:
        self._handler = handler
        self._methods = methods
        self._registrants = registrants
        self._budget = budget
        self._clock = clock

    @property
    def enabled(self) -> bool:
        """Whether addresses are verified at all."""
        return self._handler.settings.enabled and self._handler.settings.use in self._methods

    async def within_budget(self, addresses: Iterable[str], *, client: Client) -> frozenset[str]:
        """Count a mail to each address, and return those that may get it. No transaction may be open."""
        if not self.enabled:
            return frozenset()
        ip = client.ip
        return frozenset({each for each in addresses if await self._budget.may_mail("verification", each, ip=ip)})

    async def open_each(
        self,
        unit: Unit,
        identity: Identity,
        addresses: Sequence[str],
        *,
        mailed: frozenset[str],
        opening: Opening,
        caller: Caller,
        real: bool = True,
    ) -> tuple[Identity, Sequence[ContinueWith]]:
        """Open a flow for each of these addresses of an identity; return the identity as it is then, and the flows.

        Args:
            mailed: the addresses within their budget. The others get the same flows without mails.
            real: False for a simulated identity, which gets no mail either.
        """
        shown = []
        for address in addresses:
            flow = await self.open_for(
                unit,
                recipient_of(address, identity if real else None, mailed=address in mailed),
                identity_id=identity.id,
                opening=opening,
                caller=caller,
            )
            shown.append(ShowVerification(flow.id, address))
        return _marked_sent(identity, mailed.intersection(addresses)), shown

    async def open_for(
        self, unit: Unit, recipient: Recipient, *, identity_id: UUID, opening: Opening, caller: Caller
    ) -> Flow:
        """Open a flow for an e-mail address of an identity.

        A recipient without identity is simulated, or without budget: the same is done, but no code is right and no mail
        is sent, so that nothing tells it apart.
        """
        method = self._methods[self._handler.settings.use]
        flow = opened_for(blank_flow(self._handler, opening, caller, clock=self._clock), identity_id)
        view = method_view(flow, caller, method=method.name)
        ask = method.start_verification(view, recipient)
        shown = replace(
            flow.remembering(method.name, ask.form.context).showing(ask.form.nodes, *ask.messages),
            active=method.name,
            state=FlowState.SENT_EMAIL,
        )
        await store.add(unit, shown)
        if ask.effect is not None:
            await ask.effect(unit)
        unit.after_commit(lambda: self._registrants.remember(shown, identity_id, client=caller.client))
        return shown

    def pending(self, identity: Identity) -> tuple[str, ...]:
        """Return the e-mail addresses of an identity that are not verified yet."""
        known = identity.verifiable_addresses
        return tuple(each.value for each in known if each.via is Via.EMAIL and not each.verified)


def recipient_of(address: str, identity: Identity | None, *, mailed: bool) -> Recipient:
    """Return the recipient of a mail that is sent only to a real identity, and only within the budget (`mailed`)."""
    if not mailed:
        return Recipient(address, None, withheld="too_many_requests")
    return Recipient(address, identity, withheld=None if identity is not None else "unknown_account")


def _marked_sent(identity: Identity, addresses: frozenset[str]) -> Identity:
    """Return the identity as it is after mails were sent to these addresses."""
    known = tuple(
        replace(each, status=AddressStatus.SENT) if each.value in addresses else each
        for each in identity.verifiable_addresses
    )
    return replace(identity, verifiable_addresses=known)
