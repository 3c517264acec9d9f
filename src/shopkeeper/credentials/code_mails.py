"""Mails with one-time codes, within budgets, so that strangers can neither fill an inbox nor make us fill many."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from shopkeeper.client import Client
from shopkeeper.credentials.steps import Effect
from shopkeeper.errors import TooManyRequests
from shopkeeper.notify.addresses import AddressRefused, mailbox_of
from shopkeeper.notify.courier import Courier
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.database import Unit
from shopkeeper.throttle import Throttle, network_of

log = structlog.get_logger("shopkeeper.codes")


class CodeMails:
    """Queues mails with codes.

    Args:
        courier: queues mails.
        audit: records mails with codes, and refusals of the budgets. Recipients are recorded as keyed hashes.
        per_client: the budget of a client's address.
        per_recipient: the budget of a recipient, for requests from all addresses together.
        per_pair: the budget of a recipient, for requests from one address.
    """

    def __init__(
        self, courier: Courier, *, audit: Audit, per_client: Throttle, per_recipient: Throttle, per_pair: Throttle
    ) -> None:
        self._courier = courier
        self._audit = audit
        self._per_client = per_client
        self._per_recipient = per_recipient
        self._per_pair = per_pair

    async def spend(self, unit: Unit, request: "CodeRequest") -> None:
        """Count a request for a code. Raises `TooManyRequests`.

        Addresses with a tag (`ada+shop@…`) share the budgets of their mailbox. Each flow (login, registration) has
        budgets of its own for a recipient, so that requests to register an address do not keep its owner from signing
        in. Call it before the account is looked up, so that unknown addresses count like known ones. A client without
        budget does not spend the recipient's, and no client alone can spend all of it. The client's counts requests;
        the recipient's count mails, and come back where the submission sends none.
        """
        ip, flow, recipient = request.client.ip, request.flow, mailbox_of(request.recipient)
        await self._spend(unit, self._per_client, ip, request)
        await self._spend(unit, self._per_pair, f"{flow} {network_of(ip)} {recipient}", request, for_mail=True)
        await self._spend(unit, self._per_recipient, f"{flow} {recipient}", request, for_mail=True)

    def mail(
        self,
        request: "CodeRequest",
        template: str,
        *,
        context: Mapping[str, Any],
        locale: str,
        account: UUID | None = None,
        withheld: str | None = None,
    ) -> Effect:
        """Queue a mail, and record it, inside the transaction of the form.

        Args:
            account: the account that the request is about, for the record.
            withheld: why there is no mail; the same work is done then.
        """

        async def queue(unit: Unit) -> None:
            reason = withheld
            if reason is None:
                try:
                    await self._courier.queue(
                        unit, template=template, recipient=request.recipient, context=context, locale=locale
                    )
                except AddressRefused:
                    log.warning("mail.address_refused", template=template)
                    reason = "address_refused"
            if reason is not None:
                await self._courier.simulate(unit, template=template, context=context, locale=locale)
            await self._record(unit, "code.sent", request, account=account, reason=reason, template=template)

        return queue

    async def _spend(
        self, unit: Unit, throttle: Throttle, source: str, request: "CodeRequest", *, for_mail: bool = False
    ) -> None:
        try:
            await throttle.spend(source, for_effect=for_mail)
        except TooManyRequests:
            if await throttle.is_first_refusal(ip=source):
                await self._record(unit, "code.refused", request, reason="too_many_requests", always=True)
            raise

    async def _record(
        self,
        unit: Unit,
        action: str,
        request: "CodeRequest",
        *,
        account: UUID | None = None,
        reason: str | None,
        always: bool = False,
        **details: str,
    ) -> None:
        why = {"reason": reason} if reason is not None else {}
        await self._audit.record(
            unit,
            action,
            outcome="success" if reason is None else "refused",
            actor="anonymous",
            subject=str(account) if account is not None else None,
            client_ip=request.client.ip,
            details={"flow": request.flow, "recipient": self._audit.client(request.recipient), **why, **details},
            always=always,
        )


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """A request for a code: for which flow, to which recipient (normalised), from which client."""

    flow: str
    recipient: str
    client: Client


def withheld_for(disabled: UUID | None) -> str:
    """Return why no account gets a mail, for the audit trail: it is deactivated, or there is none."""
    return "account_disabled" if disabled is not None else "unknown_account"
