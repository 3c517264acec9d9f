"""The courier: queues mails with the change that causes them, and delivers them after it has committed.

The values of a mail are stored in the caller's transaction, with an outbox event beside it. It is rendered when it is
sent, while no transaction is open. The outbox brings the event back until `deliver` returns. Each mail is a key of its
own: none waits for another, so that nobody can hold up a customer's mails by one that is refused for now. The order is
not worth that; between mail servers there is none.

An event is leased to one worker, which takes its hands off before the lease ends; so a process that is killed before it
sends a mail causes no second one. Delivery is at least once all the same: a process that is killed between sending a
mail and recording that sends it again, under the same Message-ID.

A mail is abandoned when the server finally refuses it, when it cannot be rendered, when its recipient is suppressed
(`suppressions.py`), or when the outbox gives its event up. `resend` sends an abandoned mail again.

Outside development, mails with one-time codes are stored sealed (`secret_mails.py`), and what they said is deleted when
they are sent or abandoned. Sending such a mail again is not possible.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from sqlalchemy.exc import IntegrityError
from structlog.contextvars import bind_contextvars

from shopkeeper.clock import Clock
from shopkeeper.crypto import Unsealable, new_id
from shopkeeper.errors import Conflict, NotFound
from shopkeeper.languages.choice import SOURCE
from shopkeeper.notify import dispatches, store, suppressions
from shopkeeper.notify.addresses import AddressRefused, require_address
from shopkeeper.notify.channels import Channel, ChannelFailed
from shopkeeper.notify.secret_mails import SecretMails, opened, read, written
from shopkeeper.notify.templates import MailTemplates
from shopkeeper.notify.values import (
    CourierMessage,
    Dispatch,
    Mail,
    MessagePage,
    Status,
    Suppression,
    SuppressionReason,
)
from shopkeeper.storage.database import Database, Unit, broken_constraint, to_the_end
from shopkeeper.storage.outbox import Event, Outbox
from shopkeeper.storage.text_limits import storable
from shopkeeper.tally import Tally

TOPIC: Final = "mail"
PAGE: Final = 50

log = structlog.get_logger(__name__)


class NothingToSend(Conflict):
    """Raised where a message cannot be sent again."""

    message = (
        "This message cannot be sent again: it was not abandoned, or nothing is left of it, because it held a code. "
        "Ask for a new code instead."
    )


class Courier:
    """Mails to customers.

    Args:
        base_url: where the links of mails lead; never taken from a request, because any client can choose its Host.
        shop_name: the name that mails are signed with.
        secret: seals mails with one-time codes; None stores them as they are and keeps them, for development.

    >>> async with database.unit() as unit:  # doctest: +SKIP
    ...     await courier.queue(unit, template="welcome", recipient="ana@example.com", context={"first_name": "Ana"})
    """

    def __init__(
        self,
        templates: MailTemplates,
        outbox: Outbox,
        channel: Channel,
        database: Database,
        *,
        clock: Clock,
        base_url: str,
        shop_name: str,
        secret: SecretMails | None = None,
        tally: Tally | None = None,
    ) -> None:
        self._templates, self._outbox, self._channel, self._database = templates, outbox, channel, database
        self._clock = clock
        self._secret = secret
        self._tally = tally or Tally()
        self._always = {"base_url": _link(base_url), "shop_name": shop_name}

    # -- queueing ------------------------------------------------------------------------------------------------------

    async def queue(
        self,
        unit: Unit,
        *,
        template: str,
        recipient: str,
        context: Mapping[str, Any],
        locale: str = SOURCE,
        source_event: UUID | None = None,
    ) -> UUID:
        """Store a mail and its outbox event in the caller's unit, which writes them right before it commits.

        Raises `AddressRefused`. The unit raises `IntegrityError` at its end where `source_event` has caused a mail of
        this template already.
        """
        to = require_address(recipient)
        message_id, now = new_id(), self._clock.now()
        message = CourierMessage(
            id=message_id,
            status=Status.QUEUED,
            type="email",
            recipient=to,
            subject="",
            body="",
            html="",
            context=self._kept(template, {**context, "to": to}, message_id),
            template_type=template,
            channel="email",
            send_count=0,
            locale=self._templates.language(locale),
            source_event=source_event,
            last_error=None,
            created_at=now,
            updated_at=now,
        )
        store.add(unit, message)
        await _enqueue(unit, self._outbox, message_id)
        return message_id

    async def simulate(self, unit: Unit, *, template: str, context: Mapping[str, Any], locale: str = SOURCE) -> None:
        """Run the statements of `queue` without a mail, so that the time taken does not reveal whether there was one.

        The event that it leaves behind leads to no message, and is done when it is delivered.
        """
        nothing = new_id()
        self._kept(template, {**context, "to": ""}, nothing)
        store.add(unit, None)
        await _enqueue(unit, self._outbox, nothing)

    def _kept(self, template: str, context: Mapping[str, Any], message_id: UUID) -> str:
        """Return the values of a mail as they are stored."""
        self._templates.require(template, {**context, **self._always})
        text = written(context)
        return self._secret.seal(text, template=template, message_id=message_id) if self._secret is not None else text

    async def on_order_placed(self, event: Event) -> None:
        """Handle the outbox events of `order.placed`: one confirmation for each event, however often it is
        delivered."""
        customer = event.payload["customer"]
        if not customer.get("email"):
            log.info("mail.no_address", event_id=str(event.id), template="order_placed")
            return
        try:
            await self._confirm_order(event, recipient=customer["email"])
        except AddressRefused:
            log.warning("mail.address_refused", event_id=str(event.id), template="order_placed")
        except IntegrityError as broken:
            if "source_event" not in broken_constraint(broken):
                raise
            log.debug("mail.queued_before", event_id=str(event.id), template="order_placed")

    async def _confirm_order(self, event: Event, *, recipient: str) -> None:
        async with self._database.unit() as unit:
            await self.queue(
                unit,
                template="order_placed",
                recipient=recipient,
                context=_order(event),
                locale=event.payload.get("locale", SOURCE),
                source_event=event.id,
            )

    # -- delivering ----------------------------------------------------------------------------------------------------

    async def deliver(self, event: Event) -> None:
        """Handle the outbox events of `mail`. Raises `ChannelFailed` where the message is to be tried again later, and
        what else the channel raises."""
        message, suppressed = await self._claim(UUID(event.payload["message_id"]))
        if message is None:
            log.debug("mail.finished_before", message_id=event.payload["message_id"])
            return
        if suppressed is not None:
            await self._settle(message, Status.ABANDONED, error=f"the address is suppressed ({suppressed.reason})")
            self._tally.count("mails", "suppressed")
            _warn("mail.suppressed", message, reason=suppressed.reason)
            return
        try:
            sent = self.as_sent(message)
            await self._channel.send(sent)
        except ChannelFailed as failure:
            await self._settle_failure(message, failure)
            if not failure.permanent:
                raise
        except (Exception, asyncio.CancelledError) as unforeseen:
            # An unknown error of a custom channel, or the end of the lease. The outbox tries again; until then the
            # status is queued. Where the process is killed, it stays `processing`, which is true then.
            await to_the_end(self._settle(message, Status.QUEUED, error=type(unforeseen).__name__))
            raise
        else:
            await to_the_end(self._settle_sent(message, sent))

    async def _settle_sent(self, message: CourierMessage, sent: CourierMessage) -> None:
        await self._settle(message, Status.SENT, said=Mail(sent.subject, sent.body, sent.html))
        self._tally.count("mails", "sent")
        log.info("mail.sent", message_id=str(message.id), template=message.template_type)

    def as_sent(self, message: CourierMessage) -> CourierMessage:
        """Return a message with its subject and bodies. Raises `ChannelFailed` where they cannot be made any more, and
        `ValueError` where this release does not know the mail."""
        if message.context is None:
            return message
        try:
            text = message.context
            text = opened(text, self._secret, message_id=message.id)
            known = {**read(text), **self._always}
        except Unsealable as unsealable:
            raise ChannelFailed("the mail was sealed with a secret that is gone", permanent=True) from unsealable
        self._templates.require(message.template_type, known)  # a later release may have queued it, and send it
        try:
            mail = self._templates.render(message.template_type, known, locale=message.locale)
        except Exception as broken:  # what an operator's template may raise is not known
            what = f"the template of the mail cannot be filled in ({type(broken).__name__})"
            raise ChannelFailed(what, permanent=True, detail=f"{what}: {broken}"[:500]) from broken
        return replace(message, subject=mail.subject, body=mail.text, html=mail.html, data=known)

    async def give_up(self, unit: Unit, event: Event) -> None:
        """Abandon the message of a `mail` event that the outbox will not try again."""
        message = await store.get(unit, UUID(event.payload["message_id"]))
        if message is None:
            return
        now = self._clock.now()
        await self._store_result(unit, message, Status.ABANDONED, error=message.last_error, now=now)
        self._tally.count("mails", "abandoned")
        _warn("mail.abandoned", message, reason="it could not be handed over in all the time it had")

    async def resend(self, unit: Unit, message_id: UUID) -> None:
        """Queue an abandoned message again. Raises `NotFound`, and `NothingToSend` where nothing is left to send."""
        await requeue(unit, message_id, outbox=self._outbox, clock=self._clock)

    async def _claim(self, message_id: UUID) -> tuple[CourierMessage | None, Suppression | None]:
        async with self._database.unit() as unit:
            message = await store.claim(unit, message_id, now=self._clock.now())
            return message, await suppressions.find(unit, message.recipient) if message is not None else None

    async def _settle_failure(self, message: CourierMessage, failure: ChannelFailed) -> None:
        status = Status.ABANDONED if failure.permanent else Status.QUEUED
        if failure.bounced:
            await self._suppress(message, failure)
        await self._settle(message, status, error=failure.detail, shown=str(failure))
        if failure.permanent:
            self._tally.count("mails", "abandoned")
            _warn("mail.abandoned", message, reason=str(failure))
        else:  # The outbox writes one line for each try; what is known of the mail goes into that.
            bind_contextvars(message_id=str(message.id), template=message.template_type, reason=str(failure))

    async def _suppress(self, message: CourierMessage, failure: ChannelFailed) -> None:
        async with self._database.unit() as unit:
            bounce = SuppressionReason.BOUNCE
            found = Suppression(message.recipient, bounce, message.channel, failure.detail, self._clock.now())
            await suppressions.add(unit, found)
        self._tally.count("suppressions", bounce)

    async def _settle(
        self,
        message: CourierMessage,
        status: Status,
        *,
        error: str | None = None,
        shown: str | None = None,
        said: Mail | None = None,
    ) -> None:
        """Store the result of an attempt. `shown` is the error without the other side's words."""
        now = self._clock.now()
        async with self._database.unit() as unit:
            await dispatches.add(unit, Dispatch(new_id(), message.id, shown or error, now))
            await self._store_result(unit, message, status, error=error, now=now, said=said)

    async def _store_result(
        self,
        unit: Unit,
        message: CourierMessage,
        status: Status,
        *,
        error: str | None,
        now: datetime,
        said: Mail | None = None,
    ) -> None:
        """Store the result of an attempt, and delete what a mail with a code said once no further attempt follows."""
        over = status in {Status.SENT, Status.ABANDONED}
        if over and self._secret is not None and self._secret.concerns(message.template_type):
            said = Mail("", "", "")
        await store.settle(unit, message.id, status=status, error=error, now=now, said=said)

    async def purge(self, unit: Unit, before: datetime, batch: int = 500) -> int:
        """Delete messages queued before a moment, sent or not, because they contain names and addresses; return how
        many."""
        return await store.purge(unit, before=before, batch=batch)

    # -- reading -------------------------------------------------------------------------------------------------------

    async def messages(
        self,
        unit: Unit,
        *,
        status: Status | None = None,
        recipient: str | None = None,
        before: UUID | None = None,
        limit: int = PAGE,
    ) -> MessagePage:
        """Return messages, newest first; `before` is the value of the preceding page. In development, those that wait
        are shown as they will be sent."""
        if recipient is not None and not storable(recipient):
            return MessagePage((), None)
        page = await store.page(unit, status=status, recipient=recipient, before=before, limit=limit)
        return MessagePage(tuple(map(self._shown, page.items)), page.before)

    async def message(self, unit: Unit, message_id: UUID) -> CourierMessage:
        """Return one message. Raises `NotFound`."""
        found = await store.get(unit, message_id)
        if found is None:
            raise NotFound("There is no such message.")
        return self._shown(found)

    async def dispatches(self, unit: Unit, message_id: UUID) -> Sequence[Dispatch]:
        """Return the attempts to send a message, oldest first."""
        return await dispatches.of_message(unit, message_id)

    def _shown(self, message: CourierMessage) -> CourierMessage:
        if self._secret is not None:
            return message
        try:
            return self.as_sent(message)
        except (
            ChannelFailed,
            ValueError,
        ):  # the list is shown all the same; delivering stores what is wrong with this one
            return message


async def requeue(unit: Unit, message_id: UUID, *, outbox: Outbox, clock: Clock) -> None:
    """Queue an abandoned message again. Raises `NotFound`, and `NothingToSend` where nothing is left to send."""
    message = await store.get(unit, message_id)
    if message is None:
        raise NotFound("There is no such message.")
    if not await store.requeue(unit, message_id, now=clock.now()):
        raise NothingToSend
    await _enqueue(unit, outbox, message_id)


async def _enqueue(unit: Unit, outbox: Outbox, message_id: UUID) -> None:
    await outbox.add(unit, TOPIC, key=str(message_id), payload={"message_id": str(message_id)})


def _warn(what: str, message: CourierMessage, *, reason: str) -> None:
    attempts = message.send_count
    log.warning(what, message_id=str(message.id), template=message.template_type, attempts=attempts, reason=reason)


def _order(event: Event) -> Mapping[str, Any]:
    """Return what the mail shows of an order. The payload's amounts are minor units of one currency for the whole
    order."""
    order = event.payload

    def money(amount: int) -> Mapping[str, Any]:
        return {"amount": amount, "currency": order["currency"]}

    return {
        "first_name": order["customer"].get("first_name"),
        "number": order["number"],
        "lines": [{**line, "total": money(line["total"])} for line in order["lines"]],
        "total": money(order["total"]),
        "placed_at": datetime.fromisoformat(order["placed_at"]),
    }


def _link(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("the address that mails link to must be an http or https address without a query")
    return base_url.rstrip("/")
