"""Mails with one-time codes, within budgets, so that strangers can neither fill an inbox nor make us fill many."""

from collections.abc import Mapping
from typing import Any

import structlog

from shopkeeper.client import Client
from shopkeeper.credentials.steps import Effect
from shopkeeper.notify.addresses import AddressRefused
from shopkeeper.notify.courier import Courier
from shopkeeper.storage.database import Unit
from shopkeeper.throttle import Throttle, network_of

log = structlog.get_logger("shopkeeper.codes")


class CodeMails:
    """Queues mails with codes.

    Args:
        courier: queues mails.
        per_client: the budget of a client's address.
        per_recipient: the budget of a recipient, for requests from all addresses together.
        per_pair: the budget of a recipient, for requests from one address.
    """

    def __init__(self, courier: Courier, *, per_client: Throttle, per_recipient: Throttle, per_pair: Throttle) -> None:
        self._courier = courier
        self._per_client = per_client
        self._per_recipient = per_recipient
        self._per_pair = per_pair

    async def spend(self, recipient: str, *, purpose: str, client: Client) -> None:
        """Count a request for a code; `recipient` is normalised. Raises `TooManyRequests`.

        Each purpose (login, registration) has budgets of its own for a recipient, so that requests to register an
        address do not keep its owner from signing in. Call it before the account is looked up, so that unknown
        addresses count like known ones. A client without budget does not spend the recipient's, and no client alone
        can spend all of it.
        """
        await self._per_client.spend(client.ip)
        await self._per_pair.spend(f"{purpose} {network_of(client.ip)} {recipient}")
        await self._per_recipient.spend(f"{purpose} {recipient}")

    def mail(self, template: str, *, to: str | None, context: Mapping[str, Any], locale: str) -> Effect:
        """Queue a mail inside the transaction of the form. The same work is done where `to` is None."""

        async def queue(unit: Unit) -> None:
            try:
                if to:
                    await self._courier.queue(unit, template=template, recipient=to, context=context, locale=locale)
                    return
            except AddressRefused:
                log.warning("mail.address_refused", template=template)
            await self._courier.simulate(unit, template=template, context=context, locale=locale)

        return queue
