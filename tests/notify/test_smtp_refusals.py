"""What mail servers answer, and whom it is about."""

import pytest

from shopkeeper.notify.channels import ChannelFailed
from shopkeeper.notify.compose import MailComposer
from shopkeeper.notify.smtp_channel import SmtpChannel
from tests.notify.mail_server import Postbox, mail_server
from tests.notify.test_channels import MESSAGE

MAILBOX = (
    "550 5.1.1 <ana@shop.example>: Recipient address rejected: User unknown in virtual mailbox table",
    "550 5.1.1 <ana@shop.example>: Recipient address rejected: User unknown in relay recipient table",
    "550-5.1.1 The email account that you tried to reach does not exist.\r\n550 5.1.1 Ask your sender",
    "550-Please note:\r\n550 5.1.1 unknown",
    "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
    "550 5.2.1 This account is disabled",
    "553 5.1.3 bad syntax",
    "554 5.1.2 no such host",
    "550 sorry, no mailbox here by that name. (#5.1.1)",
    "550 No such user here",
    "550 5.0.0 <ana@shop.example>... User unknown",
    "550 <sender-relay@policy.example> Unknown user",
    "550 Requested action not taken: mailbox unavailable",
    "553 invalid mailbox",
    "550 the account ana does not exist",
    "556 the domain takes no mail",
)
OURS = (
    "550 relay not permitted",
    "550 authentication required",
    "550 Administrative prohibition",
    "550 Sender verify failed",
    "550 sender domain does not exist",
    "550 mailbox unavailable: your IP is on a blocklist",
    "550 User unknown, relaying denied",
    "551 we do not relay",
    "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
    "550 5.7.1 Unable to relay",
    "550-no such user, or:\r\n550 5.7.1 your network is not welcome",
    "554 5.7.1 <ana@shop.example>: Relay access denied",
    "550 5.1.8 domain of the from address has no MX",
    "530 5.7.0 log in first",
)
OTHER = ("552 5.2.2 mailbox full", "550 5.4.1 rejected", "550 rejected", "554 no", "550 5.3.4 too large")


async def refused(box: Postbox) -> ChannelFailed:
    async with mail_server(box) as postbox:
        uri = f"smtp://127.0.0.1:{postbox.port}/?disable_starttls=true"
        with pytest.raises(ChannelFailed) as failed:
            await SmtpChannel(uri, composer=MailComposer(from_address="no-reply@shop.example")).send(MESSAGE)
        return failed.value


@pytest.mark.parametrize("answer", MAILBOX)
async def test_a_mailbox_that_does_not_exist_is_a_bounce(answer: str) -> None:
    failed = await refused(Postbox(recipient_answer=answer))
    assert (failed.permanent, failed.bounced) == (True, True)


@pytest.mark.parametrize("answer", OURS)
async def test_what_is_about_us_is_tried_again_and_suppresses_nobody(answer: str) -> None:
    failed = await refused(Postbox(recipient_answer=answer))
    assert (failed.permanent, failed.bounced) == (False, False)


@pytest.mark.parametrize("answer", OTHER)
async def test_any_other_refusal_is_final_and_suppresses_nobody(answer: str) -> None:
    failed = await refused(Postbox(recipient_answer=answer))
    assert (failed.permanent, failed.bounced) == (True, False)


@pytest.mark.parametrize(
    ("answer", "permanent"),
    [
        ("554 5.7.1 Relay access denied", False),
        ("550 5.7.26 this mail is unauthenticated", False),
        ("554 5.7.1 it looks like spam", True),
    ],
)
async def test_a_refused_mail_waits_where_the_refusal_is_about_us(answer: str, permanent: bool) -> None:
    failed = await refused(Postbox(data_answer=answer))
    assert (failed.permanent, failed.bounced) == (permanent, False)
