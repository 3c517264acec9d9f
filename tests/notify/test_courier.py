"""The courier on both databases, with a real outbox and a real mail server."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from shopkeeper.clock import StoppedClock
from shopkeeper.crypto import KeyRing
from shopkeeper.errors import NotFound
from shopkeeper.notify import suppressions
from shopkeeper.notify.addresses import AddressRefused
from shopkeeper.notify.channels import Channel, ChannelFailed, InboxChannel
from shopkeeper.notify.compose import MailComposer
from shopkeeper.notify.courier import TOPIC, Courier, NothingToSend
from shopkeeper.notify.overrides import Override
from shopkeeper.notify.secret_mails import SecretMails
from shopkeeper.notify.smtp_channel import SmtpChannel
from shopkeeper.notify.templates import MailTemplates
from shopkeeper.notify.values import CourierMessage, Status, Suppression, SuppressionReason
from shopkeeper.storage.database import Database
from shopkeeper.storage.outbox import Event, Outbox
from shopkeeper.storage.outbox_worker import OutboxWorker, Subscriber
from shopkeeper.transaction_guard import refuse_inside_transaction
from tests.notify.mail_server import Postbox, mail_server
from tests.notify.test_addresses import TWO_FACED
from tests.services.server import free_port

Make = Callable[..., Courier]
NOW = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)
ORDER: Mapping[str, Any] = {
    "number": "SK-1001",
    "placed_at": NOW.isoformat(),
    "currency": "EUR",
    "total": 2598,
    "lines": [{"sku": "MUG-BLUE", "name": "Enamel mug", "quantity": 2, "price": 1299, "total": 2598}],
    "customer": {"email": "ana@shop.example", "first_name": "Ana"},
}


class Killed(BaseException):
    """Stands for the end of the process, so it must not be caught."""


class LastAct:
    """A channel that delivers the message, and then kills the process before that can be stored."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def send(self, message: CourierMessage) -> None:
        await self._channel.send(message)
        raise Killed


@pytest.fixture
def make(database: Database, clock: StoppedClock) -> Make:
    """Build a courier on this test's database."""

    def courier(channel: Channel | None = None, **options: Any) -> Courier:
        known = {"clock": clock, "base_url": "https://shop.example/", "shop_name": "Corner & Sons", **options}
        return Courier(MailTemplates(), Outbox(clock), channel or InboxChannel(), database, **known)

    return courier


def smtp(postbox: Postbox) -> SmtpChannel:
    uri = f"smtp://127.0.0.1:{postbox.port}/?disable_starttls=true"
    return SmtpChannel(uri, composer=MailComposer(from_address="no-reply@shop.example"))


def nowhere() -> SmtpChannel:
    """A mail server that is down."""
    return SmtpChannel(f"smtp://127.0.0.1:{free_port()}/", composer=MailComposer(from_address="no-reply@shop.example"))


def mail_event(message_id: UUID) -> Event:
    payload = {"message_id": str(message_id)}
    return Event(id=uuid4(), topic=TOPIC, key="ana@shop.example", payload=payload, attempt=1, created_at=NOW)


def order_event(**changes: Any) -> Event:
    payload = {**ORDER, **changes}
    return Event(id=uuid4(), topic="order.placed", key="c1", payload=payload, attempt=1, created_at=NOW)


async def queue(courier: Courier, database: Database, **changes: Any) -> UUID:
    mail = {"template": "welcome", "recipient": "ana@shop.example", "context": {"first_name": "Ana"}, **changes}
    async with database.unit() as unit:
        return await courier.queue(unit, **mail)


async def read(courier: Courier, database: Database, message_id: UUID) -> CourierMessage:
    async with database.unit() as unit:
        return await courier.message(unit, message_id)


async def everything(courier: Courier, database: Database) -> tuple[CourierMessage, ...]:
    async with database.unit() as unit:
        return (await courier.messages(unit)).items


async def deliver_all(courier: Courier, database: Database) -> int:
    """Let a worker of the outbox deliver all that is due now; return the number of events."""
    subscribers = {TOPIC: Subscriber(courier.deliver), "order.placed": Subscriber(courier.on_order_placed)}
    worker = OutboxWorker(database, subscribers, clock=StoppedClock(NOW), random=lambda: 1.0)
    delivered = 0
    while count := await worker.run_once():
        delivered += count
    return delivered


async def deliver_due(courier: Courier, database: Database, clock: StoppedClock) -> None:
    """Let a worker look for due events once, as the application does."""
    subscriber = Subscriber(courier.deliver, give_up=courier.give_up)
    await OutboxWorker(database, {TOPIC: subscriber}, clock=clock, random=lambda: 1.0).run_once()


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """Collect every statement that is sent to the database during the block."""
    said: list[str] = []
    with database.observed(said.append):
        yield said


class TestQueueing:
    async def test_no_transaction_is_open_while_a_mail_is_rendered(
        self, make: Make, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rendered: list[str] = []
        render = MailTemplates.render

        def observed(self: MailTemplates, template: str, *args: Any, **options: Any) -> Any:
            refuse_inside_transaction("A template")
            rendered.append(template)
            return render(self, template, *args, **options)

        monkeypatch.setattr(MailTemplates, "render", observed)
        courier = make()
        await queue(courier, database)
        assert rendered == []
        await deliver_all(courier, database)
        assert rendered == ["welcome"]

    async def test_a_payload_that_is_too_large_is_left_out_of_the_mail(self, make: Make, database: Database) -> None:
        courier = make()
        await queue(courier, database, context={"first_name": "Ana", "transient_payload": {"x": "y" * 100_000}})
        (message,) = await everything(courier, database)
        assert len(message.context or "") < 1000
        assert "Hello Ana" in message.body
        with pytest.raises(ValueError, match="larger than 65536 bytes"):
            await queue(courier, database, context={"first_name": "y" * 100_000})

    async def test_a_mail_is_rendered_and_stored(self, make: Make, database: Database) -> None:
        courier = make()
        message = await read(courier, database, await queue(courier, database, locale="de-AT"))
        assert (message.status, message.type, message.channel) == (Status.QUEUED, "email", "email")
        assert (message.recipient, message.template_type, message.locale) == ("ana@shop.example", "welcome", "de")
        assert message.subject == "Willkommen bei Corner & Sons"
        assert message.body.startswith("Guten Tag Ana,\n")
        assert "Willkommen bei Corner &amp; Sons" in message.html
        assert (message.send_count, message.last_error, message.source_event) == (0, None, None)
        assert message.created_at == message.updated_at == NOW

    async def test_a_rolled_back_unit_sends_no_mail(self, make: Make, database: Database) -> None:
        courier = make()

        async def sign_up_that_fails() -> None:
            async with database.unit() as unit:
                await courier.queue(
                    unit, template="welcome", recipient="ana@shop.example", context={"first_name": None}
                )
                raise LookupError

        with pytest.raises(LookupError):
            await sign_up_that_fails()
        assert await everything(courier, database) == ()
        assert await deliver_all(courier, database) == 0

    async def test_row_067_bad_recipients_are_refused_before_a_row_is_written(
        self, make: Make, database: Database
    ) -> None:
        courier = make()
        with statements(database) as said:
            for recipient in TWO_FACED.values():
                with pytest.raises(AddressRefused):
                    await queue(courier, database, recipient=recipient)
        assert said == []

    async def test_row_044_links_lead_to_the_configured_address_only(self, make: Make, database: Database) -> None:
        courier = make()
        context = {"first_name": "Ana", "base_url": "https://evil.example", "shop_name": "Evil"}
        message = await read(courier, database, await queue(courier, database, context=context))
        assert "https://shop.example/self-service/login/browser" in message.body
        assert "evil" not in (message.body + message.html).lower()

    async def test_a_welcome_and_an_attempt_to_sign_up_again_cost_the_same(
        self, make: Make, database: Database
    ) -> None:
        # Otherwise the time of the answer would reveal who has an account.
        courier = make()
        with statements(database) as welcome:
            await queue(courier, database)
        with statements(database) as attempt:
            await queue(courier, database, template="sign_up_attempt", context={})
        assert welcome == attempt
        assert len(welcome) >= 2

    async def test_a_base_address_that_no_one_can_follow_is_refused_at_the_start(self, make: Make) -> None:
        for base_url in ("", "shop.example", "javascript:alert(1)", "https://", "https://a.example/?x", "/shop"):
            with pytest.raises(ValueError, match="the address that mails link to"):
                make(base_url=base_url)


CODE = {"template": "login_code_valid", "context": {"first_name": "Ana", "code": "042137", "expires_in_minutes": 10}}


class TestMailsWithCodes:
    """A copy of the database must reveal no code, neither before the mail is sent nor afterwards."""

    @staticmethod
    def secret(secret: str = "s" * 32) -> SecretMails:
        return SecretMails(KeyRing([secret], purpose="mails"))

    async def test_a_code_is_sealed_until_it_is_sent_and_deleted_then(self, make: Make, database: Database) -> None:
        async with mail_server(Postbox()) as postbox:
            courier = make(smtp(postbox), secret=self.secret())
            message_id = await queue(courier, database, **CODE)
            waiting = await read(courier, database, message_id)
            await courier.deliver(mail_event(message_id))
        sent = await read(courier, database, message_id)
        assert "042137" not in repr(waiting)
        assert "042137" in str(postbox.mails[0]["Subject"])
        text = postbox.mails[0].get_body(("plain",))
        assert text is not None
        assert "042137" in text.get_content()
        assert (sent.status, sent.subject, sent.body, sent.html) == (Status.SENT, "", "", "")

    async def test_an_abandoned_code_is_deleted_too_and_its_replay_sends_nothing(
        self, make: Make, database: Database
    ) -> None:
        async with mail_server(Postbox(recipient_answer="550 no such user")) as postbox:
            courier = make(smtp(postbox), secret=self.secret())
            message_id = await queue(courier, database, **CODE)
            await courier.deliver(mail_event(message_id))
            abandoned = await read(courier, database, message_id)
            postbox.recipient_answer = "250 OK"
            await courier.deliver(mail_event(message_id))
        assert (abandoned.status, abandoned.body, postbox.mails) == (Status.ABANDONED, "", [])

    async def test_a_code_that_is_given_up_is_deleted(self, make: Make, database: Database) -> None:
        courier = make(nowhere(), secret=self.secret())
        message_id = await queue(courier, database, **CODE)
        async with database.unit() as unit:
            await courier.give_up(unit, mail_event(message_id))
        assert (await read(courier, database, message_id)).body == ""

    async def test_a_code_that_waits_for_a_further_attempt_is_kept(self, make: Make, database: Database) -> None:
        away = make(nowhere(), secret=self.secret())
        message_id = await queue(away, database, **CODE)
        with pytest.raises(ChannelFailed):
            await away.deliver(mail_event(message_id))
        async with mail_server(Postbox()) as postbox:
            await make(smtp(postbox), secret=self.secret()).deliver(mail_event(message_id))
        assert "042137" in str(postbox.mails[0]["Subject"])

    async def test_a_code_whose_secret_is_gone_is_abandoned(self, make: Make, database: Database) -> None:
        message_id = await queue(make(secret=self.secret()), database, **CODE)
        other = make(secret=self.secret("t" * 32))
        await other.deliver(mail_event(message_id))
        assert (await read(other, database, message_id)).status is Status.ABANDONED

    async def test_development_shows_what_it_can_and_abandons_what_another_run_has_sealed(
        self, make: Make, database: Database
    ) -> None:
        sealed = await queue(make(secret=self.secret()), database, **CODE)
        development = make()
        await queue(development, database)
        listed = await everything(development, database)
        await development.deliver(mail_event(sealed))
        assert sorted("Hello Ana" in message.body for message in listed) == [False, True]
        assert (await read(development, database, sealed)).status is Status.ABANDONED

    async def test_a_code_that_an_earlier_version_queued_is_sent(self, make: Make, database: Database) -> None:
        message_id = await queue(make(), database, **CODE)
        async with mail_server(Postbox()) as postbox:
            courier = make(smtp(postbox), secret=self.secret())
            await courier.deliver(mail_event(message_id))
        assert "042137" in str(postbox.mails[0]["Subject"])
        assert (await read(courier, database, message_id)).body == ""

    async def test_other_mails_and_those_of_development_stay_readable(self, make: Make, database: Database) -> None:
        courier, development = make(secret=self.secret()), make()
        welcome, code = await queue(courier, database), await queue(development, database, **CODE)
        await courier.deliver(mail_event(welcome))
        await development.deliver(mail_event(code))
        assert "Hello Ana" in (await read(courier, database, welcome)).body
        assert "042137" in (await read(development, database, code)).body


class TestDelivery:
    async def test_a_mail_is_sent_once(self, make: Make, database: Database) -> None:
        async with mail_server(Postbox()) as postbox:
            courier = make(smtp(postbox))
            message_id = await queue(courier, database)
            await courier.deliver(mail_event(message_id))
            await courier.deliver(mail_event(message_id))
        message = await read(courier, database, message_id)
        assert (message.status, message.send_count, message.last_error) == (Status.SENT, 1, None)
        assert [str(mail["Subject"]) for mail in postbox.mails] == ["Welcome to Corner & Sons"]

    async def test_the_outbox_delivers_a_mail_to_the_inbox(self, make: Make, database: Database) -> None:
        courier = make()
        message_id = await queue(courier, database)
        assert await deliver_all(courier, database) == 1
        assert (await read(courier, database, message_id)).status is Status.SENT

    async def test_a_mail_that_fails_holds_up_no_other_to_its_recipient(
        self, make: Make, database: Database, clock: StoppedClock
    ) -> None:
        class RefusesWelcomes(InboxChannel):
            async def send(self, message: CourierMessage) -> None:
                if message.template_type == "welcome":
                    raise ChannelFailed("not now", permanent=False)

        courier = make(RefusesWelcomes())
        welcome, code = await queue(courier, database), await queue(courier, database, **CODE)
        await deliver_due(courier, database, clock)
        later = await queue(courier, database, **CODE)
        await deliver_due(courier, database, clock)
        found = [(await read(courier, database, mail)).status for mail in (welcome, code, later)]
        assert found == [Status.QUEUED, Status.SENT, Status.SENT]

    async def test_a_mail_that_cannot_be_rendered_is_abandoned_and_shown(
        self, database: Database, clock: StoppedClock
    ) -> None:
        broken = Override("welcome.txt.j2", "{{ transient_payload.points + 1 }}")
        templates = MailTemplates(overrides={"welcome.txt.j2": broken})
        courier = Courier(
            templates,
            Outbox(clock),
            InboxChannel(),
            database,
            clock=clock,
            base_url="https://shop.example/",
            shop_name="Corner & Sons",
        )
        payload = {"first_name": "Ana", "transient_payload": {"points": "one"}}
        message_id = await queue(courier, database, context=payload)
        with capture_logs(processors=[merge_contextvars]) as logged:
            await courier.deliver(mail_event(message_id))
        (message,) = await everything(courier, database)
        assert message.status is Status.ABANDONED
        assert "cannot be filled in (TypeError)" in (message.last_error or "")
        assert [line["event"] for line in logged] == ["mail.abandoned"]

    async def test_a_passing_failure_is_tried_again(self, make: Make, database: Database, clock: StoppedClock) -> None:
        async with mail_server(Postbox(recipient_answer="451 greylisted")) as postbox:
            courier = make(smtp(postbox))
            message_id = await queue(courier, database)
            clock.advance(seconds=1)
            with pytest.raises(ChannelFailed) as failed:
                await courier.deliver(mail_event(message_id))
            waiting = await read(courier, database, message_id)
            postbox.recipient_answer = "250 OK"
            await courier.deliver(mail_event(message_id))
        sent = await read(courier, database, message_id)
        assert not failed.value.permanent
        assert (waiting.status, waiting.send_count, waiting.last_error) == (Status.QUEUED, 1, "451 greylisted")
        assert (waiting.created_at, waiting.updated_at) == (NOW, clock.now())
        assert (sent.status, sent.send_count, sent.last_error) == (Status.SENT, 2, None)
        assert len(postbox.mails) == 1

    async def test_a_final_refusal_abandons_the_mail_and_logs_no_recipient(
        self, make: Make, database: Database
    ) -> None:
        async with mail_server(Postbox(recipient_answer="550 no such user ana@shop.example")) as postbox:
            courier = make(smtp(postbox))
            message_id = await queue(courier, database)
            with capture_logs() as logs:
                assert await deliver_all(courier, database) == 1
        message = await read(courier, database, message_id)
        assert (message.status, message.send_count) == (Status.ABANDONED, 1)
        assert message.last_error == "550 no such user ana@shop.example"
        (warning,) = [entry for entry in logs if entry["log_level"] == "warning"]
        assert (warning["event"], warning["message_id"]) == ("mail.abandoned", str(message_id))
        assert "ana" not in repr(logs)

    async def test_a_mailbox_that_does_not_exist_is_asked_once(self, make: Make, database: Database) -> None:
        async with mail_server(Postbox(recipient_answer="550 5.1.1 no such user")) as postbox:
            courier = make(smtp(postbox))
            first = await queue(courier, database)
            await deliver_all(courier, database)
            postbox.recipient_answer = "250 OK"
            second = await queue(courier, database, recipient="ANA@shop.example")
            await deliver_all(courier, database)
            assert (await read(courier, database, second)).status is Status.ABANDONED
            async with database.unit() as unit:
                found = await suppressions.find(unit, "ana@shop.example")
                attempts = await courier.dispatches(unit, first)
                assert await suppressions.remove(unit, "Ana@shop.example")
                await courier.resend(unit, second)
            await deliver_all(courier, database)
        assert found is not None
        assert (found.reason, found.source) == (SuppressionReason.BOUNCE, "email")
        assert [attempt.error for attempt in attempts] == ["the recipient was refused (550)"]
        assert (await read(courier, database, first)).status is Status.ABANDONED
        assert (await read(courier, database, second)).status is Status.SENT
        assert len(postbox.mails) == 1

    @pytest.mark.parametrize(
        "answer",
        [
            "550 5.7.1 your network is blocked",
            "552 5.2.2 mailbox full",
            "554 5.7.1 rejected",
            "550 5.1.8 bad sender",
            "451 4.1.1 greylisted",
        ],
    )
    async def test_a_refusal_that_is_not_about_the_mailbox_suppresses_nothing(
        self, make: Make, database: Database, answer: str
    ) -> None:
        async with mail_server(Postbox(recipient_answer=answer)) as postbox:
            courier = make(smtp(postbox))
            await queue(courier, database)
            await deliver_all(courier, database)
        async with database.unit() as unit:
            assert await suppressions.find(unit, "ana@shop.example") is None

    async def test_a_suppression_ends_after_its_time(self, make: Make, database: Database, clock: StoppedClock) -> None:
        async with database.unit() as unit:
            for address in ("a@shop.example", "b@shop.example", "c@shop.example"):
                told = Suppression(address, SuppressionReason.COMPLAINT, "webhook", "x" * 5000, clock.now())
                await suppressions.add(unit, told)
                await suppressions.add(unit, told)
                clock.advance(days=1)
            found = await suppressions.find(unit, "a@shop.example")
            assert found is not None
            assert found.detail == "x" * 500
            assert await suppressions.purge(unit, NOW + timedelta(days=1, seconds=1), 1) == 1
            assert [one.address for one in await suppressions.page(unit, after=None, limit=9)] == [
                "b@shop.example",
                "c@shop.example",
            ]
            assert await suppressions.counts(unit) == {"complaint": 2}

    async def test_what_was_sent_is_not_sent_again(self, make: Make, database: Database) -> None:
        courier = make()
        message_id = await queue(courier, database)
        await courier.deliver(mail_event(message_id))
        async with database.unit() as unit:
            with pytest.raises(NothingToSend, match="cannot be sent again"):
                await courier.resend(unit, message_id)

    async def test_a_try_that_fails_writes_one_line(self, make: Make, database: Database, clock: StoppedClock) -> None:
        """Regression: the courier and the outbox wrote one each."""
        away = make(nowhere())
        message_id = await queue(away, database)
        with capture_logs(processors=[merge_contextvars]) as logs:
            await deliver_due(away, database, clock)
        (warning,) = [entry for entry in logs if entry["log_level"] == "warning"]
        assert (warning["event"], warning["message_id"]) == ("outbox.failed", str(message_id))
        assert warning["reason"].startswith("the mail server could not be reached")
        assert warning["template"]

    async def test_an_outage_of_hours_abandons_nothing(
        self, make: Make, database: Database, clock: StoppedClock
    ) -> None:
        """Regression: mails were abandoned after two minutes of an outage."""
        async with mail_server(Postbox()) as postbox:
            away, back = make(nowhere()), make(smtp(postbox))
            message_id = await queue(away, database)
            for _ in range(20):
                await deliver_due(away, database, clock)
                clock.advance(hours=1)
            waiting = await read(away, database, message_id)
            await deliver_due(back, database, clock)
        sent = await read(back, database, message_id)
        assert waiting.status is Status.QUEUED
        assert (sent.status, sent.send_count, len(postbox.mails)) == (Status.SENT, 21, 1)

    async def test_a_mail_that_is_given_up_is_abandoned_and_can_be_replayed(
        self, make: Make, database: Database, clock: StoppedClock
    ) -> None:
        """Regression: the outbox gave the event up without the courier, and the mail was `queued` for ever."""
        async with mail_server(Postbox()) as postbox:
            away, back, outbox = make(nowhere()), make(smtp(postbox)), Outbox(clock)
            message_id = await queue(away, database)
            for _ in range(30):
                await deliver_due(away, database, clock)
                clock.advance(hours=1)
            abandoned = await read(away, database, message_id)
            async with database.unit() as unit:
                (letter,) = await outbox.dead(unit)
                await outbox.replay(unit, letter.event.id)
            await deliver_due(back, database, clock)
        sent = await read(back, database, message_id)
        assert (abandoned.status, abandoned.send_count) == (Status.ABANDONED, 25)
        assert "ConnectError" in (abandoned.last_error or "")
        assert (sent.status, sent.send_count, len(postbox.mails)) == (Status.SENT, 26, 1)

    async def test_a_mail_whose_worker_was_killed_at_the_last_attempt_is_abandoned(
        self, make: Make, database: Database
    ) -> None:
        dying = make(LastAct(InboxChannel()))
        message_id = await queue(dying, database)
        event = mail_event(message_id)
        with pytest.raises(Killed):
            await dying.deliver(event)
        async with database.unit() as unit:
            await dying.give_up(unit, event)
            await dying.give_up(unit, mail_event(uuid4()))
        assert (await read(dying, database, message_id)).status is Status.ABANDONED

    async def test_a_process_killed_between_sending_and_storing_sends_again(
        self, make: Make, database: Database
    ) -> None:
        async with mail_server(Postbox()) as postbox:
            dying, next_process = make(LastAct(smtp(postbox))), make(smtp(postbox))
            message_id = await queue(dying, database)
            with pytest.raises(Killed):
                await dying.deliver(mail_event(message_id))
            in_between = await read(next_process, database, message_id)
            await next_process.deliver(mail_event(message_id))
        message = await read(next_process, database, message_id)
        assert in_between.status is Status.PROCESSING
        assert (message.status, message.send_count) == (Status.SENT, 2)
        assert len(postbox.mails) == 2
        assert len({str(mail["Message-ID"]) for mail in postbox.mails}) == 1

    async def test_a_worker_killed_before_it_sends_causes_no_second_mail(
        self, make: Make, database: Database, clock: StoppedClock
    ) -> None:
        async with mail_server(Postbox()) as postbox:
            reached = asyncio.Event()

            async def hang() -> None:
                reached.set()
                await asyncio.Event().wait()

            message_id = await queue(make(), database)
            workers = [
                OutboxWorker(database, {TOPIC: Subscriber(courier.deliver)}, clock=clock, random=lambda: 1.0)
                for courier in (make(_Interrupted(hang)), make(smtp(postbox)), make(smtp(postbox)))
            ]
            doomed = asyncio.create_task(workers[0].run_once())
            await reached.wait()
            # A process that is killed gives nothing back: its lease has to end.
            workers[0]._let_go = _nothing  # type: ignore[method-assign]
            others = workers[1:]
            assert [await worker.run_once() for worker in others] == [0, 0]
            clock.advance(minutes=2)
            for _ in range(3):
                await asyncio.gather(*(worker.run_once() for worker in others))
                clock.advance(minutes=2)
            sent = await read(make(), database, message_id)
            assert (sent.status, len(postbox.mails)) == (Status.SENT, 1)
            doomed.cancel()
            await asyncio.gather(doomed, return_exceptions=True)
            await workers[0].__class__._let_go(workers[0])
        assert (await read(make(), database, message_id)).status is Status.SENT

    async def test_a_mail_that_was_taken_is_sent_whatever_cancels_its_delivery(
        self, make: Make, database: Database
    ) -> None:
        class CancelledAtLast(InboxChannel):
            async def send(self, message: CourierMessage) -> None:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()

        courier = make(CancelledAtLast())
        message_id = await queue(courier, database)
        await asyncio.gather(asyncio.create_task(courier.deliver(mail_event(message_id))), return_exceptions=True)
        assert (await read(courier, database, message_id)).status is Status.SENT

    async def test_an_unexpected_error_leaves_no_mail_processing(self, make: Make, database: Database) -> None:
        async def break_down() -> None:
            raise LookupError("a channel of somebody's own")

        courier = make(_Interrupted(break_down))
        message_id = await queue(courier, database)
        with pytest.raises(LookupError):
            await courier.deliver(mail_event(message_id))
        message = await read(courier, database, message_id)
        assert (message.status, message.last_error) == (Status.QUEUED, "LookupError")

    async def test_the_end_of_the_lease_leaves_no_mail_processing(self, make: Make, database: Database) -> None:
        courier = make(_Interrupted(lambda: asyncio.sleep(3600)))
        message_id = await queue(courier, database)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await courier.deliver(mail_event(message_id))
        assert (await read(courier, database, message_id)).status is Status.QUEUED

    async def test_a_late_failure_does_not_take_back_what_another_worker_sent(
        self, make: Make, database: Database
    ) -> None:
        first = make(_Interrupted(lambda: second.deliver(mail_event(message_id))))
        second = make()
        message_id = await queue(first, database)
        with pytest.raises(ChannelFailed):
            await first.deliver(mail_event(message_id))
        assert (await read(second, database, message_id)).status is Status.SENT

    async def test_a_deleted_message_is_not_waited_for(self, make: Make, database: Database) -> None:
        courier = make()
        await courier.deliver(mail_event(uuid4()))
        assert await everything(courier, database) == ()


async def _nothing() -> None:
    pass


class _Interrupted:
    """A channel so slow that its lease ends: another worker has done its work before it fails."""

    def __init__(self, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self._meanwhile = meanwhile

    async def send(self, message: CourierMessage) -> None:
        await self._meanwhile()
        raise ChannelFailed("the mail server could not be reached", permanent=False)


class TestOrders:
    async def test_an_order_is_confirmed(self, make: Make, database: Database) -> None:
        courier, placed = make(), order_event(locale="de")
        await courier.on_order_placed(placed)
        (message,) = await everything(courier, database)
        assert (message.template_type, message.recipient) == ("order_placed", "ana@shop.example")
        assert message.source_event == placed.id
        assert "2 × Enamel mug: 25,98\u00a0€" in message.body
        assert "14. März 2026" in message.body
        assert await deliver_all(courier, database) == 1

    async def test_an_event_that_comes_twice_writes_one_mail(self, make: Make, database: Database) -> None:
        courier, placed = make(), order_event()
        await courier.on_order_placed(placed)
        await courier.on_order_placed(placed)
        await courier.on_order_placed(order_event())
        assert len(await everything(courier, database)) == 2
        assert await deliver_all(courier, database) == 2

    async def test_an_event_that_comes_to_two_workers_at_once_writes_one_mail(
        self, make: Make, database: Database
    ) -> None:
        courier, placed = make(), order_event()
        await asyncio.gather(*(courier.on_order_placed(placed) for _ in range(5)))
        assert len(await everything(courier, database)) == 1
        assert await deliver_all(courier, database) == 1

    @pytest.mark.parametrize("email", [None, "", "a@x.example,b@y.example"])
    async def test_a_customer_without_a_usable_address_delays_no_other(
        self, make: Make, database: Database, email: str | None
    ) -> None:
        courier = make()
        with capture_logs() as logs:
            await courier.on_order_placed(order_event(customer={"email": email, "first_name": "Ana"}))
        assert await everything(courier, database) == ()
        assert len(logs) == 1
        assert "@" not in repr(logs)


class TestReading:
    async def test_pages_go_from_the_newest_to_the_oldest(self, make: Make, database: Database) -> None:
        courier = make()
        queued = [await queue(courier, database) for _ in range(5)]
        seen, before = [], None
        async with database.unit() as unit:
            for _ in range(3):
                page = await courier.messages(unit, before=before, limit=2)
                seen.append([message.id for message in page.items])
                before = page.before
        assert seen == [queued[:2:-1], queued[2:0:-1], queued[:1]]
        assert before is None

    async def test_a_last_page_that_is_full_says_so(self, make: Make, database: Database) -> None:
        courier = make()
        queued = [await queue(courier, database) for _ in range(2)]
        async with database.unit() as unit:
            page = await courier.messages(unit, limit=2)
        assert ([message.id for message in page.items], page.before) == (queued[::-1], None)

    async def test_messages_are_found_by_recipient_and_status(self, make: Make, database: Database) -> None:
        courier = make()
        anas = [await queue(courier, database) for _ in range(2)]
        bob = await queue(courier, database, recipient="bob@shop.example")
        await courier.deliver(mail_event(anas[0]))
        async with database.unit() as unit:
            to_ana = await courier.messages(unit, recipient="ana@shop.example")
            waiting = await courier.messages(unit, status=Status.QUEUED)
            both = await courier.messages(unit, status=Status.SENT, recipient="ana@shop.example")
        assert [message.id for message in to_ana.items] == anas[::-1]
        assert [message.id for message in waiting.items] == [bob, anas[1]]
        assert [message.id for message in both.items] == anas[:1]

    async def test_an_unknown_message_is_not_found(self, make: Make, database: Database) -> None:
        courier = make()
        with pytest.raises(NotFound, match="no such message"):
            await read(courier, database, uuid4())


class TestForgetting:
    async def test_old_messages_are_deleted_in_batches_sent_or_not(
        self, make: Make, database: Database, clock: StoppedClock
    ) -> None:
        courier = make()
        for _ in range(3):
            await queue(courier, database)
        await deliver_all(courier, database)
        stuck = await queue(courier, database)
        clock.advance(days=30)
        young = await queue(courier, database)
        counts = []
        for _ in range(3):
            async with database.unit() as unit:
                counts.append(await courier.purge(unit, clock.now() - timedelta(days=1), 3))
        assert counts == [3, 1, 0]
        assert [message.id for message in await everything(courier, database)] == [young]
        await courier.deliver(mail_event(stuck))
