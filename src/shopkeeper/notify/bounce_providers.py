"""What mail providers send about mails that bounced and recipients who complain, as data.

Each provider has an entry in `PROVIDERS`: how its requests are signed, and which of its events mean that a mailbox does
not exist (`bounce`) or that its owner has reported a mail (`complaint`). Everything else that a provider tells, such as
deliveries, soft bounces and blocks, says nothing about the mailbox and is passed over.

A new provider is a function below, a line in the table, examples in `tests/http/bounce_reports.yml` and a line
in `docs/howto/mails.md`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from shopkeeper.errors import BadRequest
from shopkeeper.notify.bounce_signatures import Check, mailgun, sendgrid, shared_secret, standard_webhooks, svix
from shopkeeper.notify.values import SuppressionReason

BOUNCE, COMPLAINT = SuppressionReason.BOUNCE, SuppressionReason.COMPLAINT
_OWN_TYPES: Final = {"bounce": BOUNCE, "complaint": COMPLAINT}


@dataclass(frozen=True, slots=True)
class Report:
    """What a provider says of an address, which is as it was sent."""

    reason: SuppressionReason
    address: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Provider:
    """How a provider reports."""

    check: Callable[[str], Check]
    """Makes the check of its signature from the secret."""
    reports: Callable[[Any], Iterable[Report]]
    """Returns the reports of a body, read as JSON."""


def at(document: Any, *path: str) -> Any:
    """Return the value at a path, or None where there is none.

    >>> at({"data": {"to": ["ada@example.org"]}}, "data", "to")
    ['ada@example.org']
    """
    for name in path:
        document = document.get(name) if isinstance(document, Mapping) else None
    return document


def word(document: Any, *path: str) -> str:
    """Return the text at a path, or an empty one."""
    found = at(document, *path)
    return found if isinstance(found, str) else ""


def listed(document: Any) -> list[Any]:
    """Return the elements of a list; anything else is a list of one."""
    return document if isinstance(document, list) else [document]


def _own(document: Any) -> Iterator[Report]:
    """Read `{"type": "bounce", "address": …, "detail": …}`. Raises `BadRequest` where a report is written otherwise."""
    for report in listed(document):
        reason, detail = _OWN_TYPES.get(word(report, "type")), at(report, "detail")
        if reason is None:
            raise BadRequest(f"A report has a type, one of: {', '.join(_OWN_TYPES)}.")
        if not word(report, "address") or not (detail is None or isinstance(detail, str)):
            raise BadRequest("A report has an address, and perhaps a detail, as texts.")
        yield Report(reason, word(report, "address"), detail or "")


def _brevo(document: Any) -> Iterator[Report]:
    reasons = {"hard_bounce": BOUNCE, "invalid_email": BOUNCE, "spam": COMPLAINT, "complaint": COMPLAINT}
    for event in listed(document):
        if (reason := reasons.get(word(event, "event"))) is not None:
            yield Report(reason, word(event, "email"), word(event, "reason"))


def _mailgun(document: Any) -> Iterator[Report]:
    event = at(document, "event-data")
    match (word(event, "event"), word(event, "severity"), word(event, "reason")):
        case ("complained", _, _):
            yield Report(COMPLAINT, word(event, "recipient"))
        case ("failed", "permanent", "bounce" | "suppress-bounce"):  # others, as `generic`, are not about the mailbox
            status = at(event, "delivery-status")
            yield Report(BOUNCE, word(event, "recipient"), word(status, "message") or word(status, "description"))


def _postmark(document: Any) -> Iterator[Report]:
    reasons = {"HardBounce": BOUNCE, "BadEmailAddress": BOUNCE, "SpamComplaint": COMPLAINT}
    reason = reasons.get(word(document, "Type"))
    if reason is not None and word(document, "RecordType") in {"Bounce", "SpamComplaint"}:
        yield Report(reason, word(document, "Email"), word(document, "Details"))


def _resend(document: Any) -> Iterator[Report]:
    recipients = listed(at(document, "data", "to"))
    if len(recipients) > 1:  # it does not say which one
        return
    match (word(document, "type"), word(document, "data", "bounce", "type")):
        case ("email.bounced", "Permanent"):
            yield Report(BOUNCE, word({"to": recipients[0]}, "to"), word(document, "data", "bounce", "message"))
        case ("email.complained", _):
            yield Report(COMPLAINT, word({"to": recipients[0]}, "to"))


def _sendgrid(document: Any) -> Iterator[Report]:
    for event in listed(document):
        match (word(event, "event"), word(event, "type")):
            case ("bounce", "bounce"):  # the other type is `blocked`
                yield Report(BOUNCE, word(event, "email"), word(event, "reason"))
            case ("spamreport", _):
                yield Report(COMPLAINT, word(event, "email"))


def _ses(document: Any) -> Iterator[Report]:
    """Read an event of EventBridge."""
    event = at(document, "detail")
    match (word(event, "eventType"), word(event, "bounce", "bounceType")):
        case ("Bounce", "Permanent"):
            for recipient in listed(at(event, "bounce", "bouncedRecipients")):
                yield Report(BOUNCE, word(recipient, "emailAddress"), word(recipient, "diagnosticCode"))
        case ("Complaint", _):
            for recipient in listed(at(event, "complaint", "complainedRecipients")):
                yield Report(COMPLAINT, word(recipient, "emailAddress"))


def _sparkpost(document: Any) -> Iterator[Report]:
    for wrapped in listed(document):
        events = at(wrapped, "msys")
        for event in events.values() if isinstance(events, Mapping) else ():
            match (word(event, "type"), word(event, "bounce_class")):
                case ("bounce" | "out_of_band", "10" | "30"):  # "invalid recipient" and "no RCPT"
                    yield Report(BOUNCE, word(event, "rcpt_to"), word(event, "raw_reason"))
                case ("spam_complaint", _):
                    yield Report(COMPLAINT, word(event, "rcpt_to"))


PROVIDERS: Final[Mapping[str, Provider]] = {
    "standard": Provider(standard_webhooks, _own),
    "brevo": Provider(shared_secret, _brevo),
    "mailgun": Provider(mailgun, _mailgun),
    "postmark": Provider(shared_secret, _postmark),
    "resend": Provider(svix, _resend),
    "sendgrid": Provider(sendgrid, _sendgrid),
    "ses": Provider(shared_secret, _ses),
    "sparkpost": Provider(shared_secret, _sparkpost),
}
"""By the name in `courier.bounces.provider`. `standard` is our own form, signed as Standard Webhooks."""
