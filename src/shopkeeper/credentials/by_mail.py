"""Recovery and verification by mail: what codes and links have in common.

A request for a mail costs the same for known and unknown addresses, and gets the same answer: the budgets are spent,
the account is looked up, a mail is queued or the work of queueing one is done, and the form says that it was sent.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from shopkeeper.clock import Clock
from shopkeeper.credentials.code_mails import CodeMails, CodeRequest, withheld_for
from shopkeeper.credentials.mailed_nodes import CODE, EMAIL, LINK
from shopkeeper.credentials.method import MethodInput, MethodView
from shopkeeper.credentials.steps import Effect, FieldError, LastAttempt, Proof, SubmissionRejected, Verified
from shopkeeper.crypto import new_id
from shopkeeper.identity.address_changes import AddressChanges
from shopkeeper.identity.formats import is_email
from shopkeeper.identity.normalise import LONGEST, normalise_identifier
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Aal, Identity, Via
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import Message, message

SENT: Final = "sent_email"


class MailedFlow(StrEnum):
    """The flows that mails continue."""

    RECOVERY = "recovery"
    VERIFICATION = "verification"


WRONG: Final[Mapping[tuple[str, str], int]] = {
    (MailedFlow.RECOVERY, CODE): 4060006,
    (MailedFlow.RECOVERY, LINK): 4060004,
    (MailedFlow.VERIFICATION, CODE): 4070006,
    (MailedFlow.VERIFICATION, LINK): 4070001,
}
"""The message that a code or a link is wrong or used, by flow and method."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """Where a mail goes: a normalised address, and the account that may be recovered or verified by it.

    `disabled` is the account that would be recovered if it were not deactivated. It is treated as unknown. `withheld`
    says why there is no mail in any case; the same work is done then.
    """

    address: str
    identity: Identity | None
    disabled: UUID | None = None
    withheld: str | None = None

    @property
    def identity_id(self) -> UUID | None:
        return self.identity.id if self.identity is not None else None


class ByMail:
    """Finds the account of an address, queues mails, and makes proofs.

    Args:
        mails: queues mails, within budgets.
        notified: the flows whose mails go to unknown addresses, too (`notify_unknown_recipients`).
        base_url: what links begin with; never taken from a request, because any client can choose its Host.
    """

    def __init__(
        self,
        identities: Identities,
        *,
        address_changes: AddressChanges,
        mails: CodeMails,
        clock: Clock,
        notified: frozenset[str],
        base_url: str,
    ) -> None:
        self._identities = identities
        self._address_changes = address_changes
        self._mails = mails
        self._clock = clock
        self._notified = notified
        self._base_url = base_url.rstrip("/")

    async def recipient(self, unit: Unit, flow: MailedFlow, submission: MethodInput) -> Recipient:
        """Return where the mail goes that this submission asks for, and spend its budgets.

        Raises `SubmissionRejected` for anything but an e-mail address, and `TooManyRequests`.
        """
        try:
            address = _require_address(submission)
        except SubmissionRejected as rejected:
            # The contract keeps what a verification has said already.
            again = flow is MailedFlow.VERIFICATION and submission.state == SENT
            kept = (message(1080003),) if again else ()
            raise SubmissionRejected(*kept, fields=rejected.fields, filled=False) from rejected
        await self._mails.spend(unit, CodeRequest(flow.value, address, submission.client))
        owner = await self.owner(unit, flow, address)
        if flow is MailedFlow.RECOVERY and owner is not None and not owner.active:
            return Recipient(address, None, disabled=owner.id)
        return Recipient(address, owner)

    async def owner(self, unit: Unit, flow: MailedFlow, address: str) -> Identity | None:
        """Return the account that an address recovers, or verifies."""
        if flow is MailedFlow.RECOVERY:
            return await self._address_changes.recoverable_by(unit, via=Via.EMAIL, value=address)
        found = await self._identities.find_by_address(unit, via=Via.EMAIL, value=address)
        return found if found is not None and has_address(found, flow, address) else None

    def mail(
        self,
        flow: MailedFlow,
        template: str,
        recipient: Recipient,
        view: MethodView,
        *,
        context: Mapping[str, Any],
        expires_at: datetime,
    ) -> Effect:
        """Queue the mail with a code or a link. An unknown address gets one that says so where that is configured, and
        otherwise none, after the same work. So does that of a deactivated account: it cannot be recovered."""
        request = CodeRequest(flow.value, recipient.address, view.client)
        known, told = recipient.identity is not None, flow.value in self._notified
        minutes = max(1, math.ceil((expires_at - self._clock.now()).total_seconds() / 60))
        whole = {**view.mail_values(recipient.identity), **context, "expires_in_minutes": minutes}
        queue = self._mails.mail(
            request,
            template if known or not told else template.replace("_valid", "_invalid"),
            context=whole if known or not told else view.mail_values(None),
            locale=view.locale_for(recipient.identity),
            account=recipient.identity_id or recipient.disabled,
            withheld=recipient.withheld or (None if known or told else withheld_for(recipient.disabled)),
        )
        # An unknown address is marked, too, under ids that nothing has: the work is the same.
        address_id, owner = _verifiable_id(recipient) or new_id(), recipient.identity_id or new_id()

        async def run(unit: Unit) -> None:
            await queue(unit)
            if flow is MailedFlow.VERIFICATION:
                await self._identities.mark_sent(unit, address_id, owner=owner)

        return run

    def link(self, flow: MailedFlow, view: MethodView, **query: str) -> str:
        """Return the address that continues a flow."""
        fields = "&".join(f"{name}={value}" for name, value in query.items())
        return f"{self._base_url}/self-service/{flow.value}?flow={view.flow_id}&{fields}"

    def recovered(
        self,
        method: str,
        identity_id: UUID,
        address: str,
        *,
        sent_at: datetime | None,
        attempt: LastAttempt | None = None,
    ) -> Proof:
        """Return the proof of a recovery. A mail to no address (an operator's) proves none.

        A former address of the account proves it, too, while that is allowed. A mail from before the last change of the
        password proves nothing: it may be in other hands, and the account has been recovered.
        """
        by_address = bool(address)

        def by_own_address(now: Identity) -> bool:
            has_it = not by_address or has_address(now, MailedFlow.RECOVERY, address)
            return has_it and not _password_set_since(sent_at, now)

        async def by_former_address(unit: Unit, now: Identity) -> bool:
            owner = await self.owner(unit, MailedFlow.RECOVERY, address)
            return owner is not None and owner.id == identity_id and not _password_set_since(sent_at, now)

        return Proof(
            identity_id,
            method,
            Aal.AAL1,
            still_valid=by_own_address,
            else_valid=by_former_address if by_address else None,
            amr=f"{method}_recovery",
            verified=((Via.EMAIL, address),) if by_address else (),
            takes_over=by_address,
            recovers=True,
            attempt=attempt,
        )

    def verified(self, method: str, identity_id: UUID, address: str) -> Verified:
        """Return the proof of an address."""
        return Verified(identity_id, method, (Via.EMAIL, address))


def has_address(identity: Identity, flow: MailedFlow, address: str) -> bool:
    """Return whether an account is recovered, or verified, by an address."""
    if flow is MailedFlow.RECOVERY and identity.outranked(Via.EMAIL, address):
        return False
    known = identity.recovery_addresses if flow is MailedFlow.RECOVERY else identity.verifiable_addresses
    return any(each.via is Via.EMAIL and each.value == address for each in known)


def _password_set_since(sent_at: datetime | None, now: Identity) -> bool:
    password = now.credentials.get("password")
    return sent_at is not None and password is not None and password.set_since > sent_at


def at_email(wrong: Message) -> SubmissionRejected:
    """Return the rejection of an address; the contract does not show what was typed."""
    return SubmissionRejected(fields=[FieldError(EMAIL, wrong)], filled=False)


def asks_for_mail(submission: MethodInput) -> bool:
    """Return whether an address was sent, by its field or by the button that sends another mail."""
    given = submission.submitted.get(EMAIL)
    return given is not None and given != ""


def _require_address(submission: MethodInput) -> str:
    given = submission.submitted.get(EMAIL)
    if given is None or given == "":
        raise at_email(message(4000002, property=EMAIL))
    if not isinstance(given, str):
        raise at_email(message(4000040, value=""))
    if len(given) > LONGEST:
        raise at_email(message(4000017, max_length=LONGEST, actual_length=len(given)))
    address = normalise_identifier(given)
    if not is_email(address):
        raise at_email(message(4000040, value=given))
    return address


def _verifiable_id(recipient: Recipient) -> UUID | None:
    known = recipient.identity.verifiable_addresses if recipient.identity is not None else ()
    return next((each.id for each in known if each.value == recipient.address), None)
