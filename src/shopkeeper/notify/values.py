"""Messages as values. Shapes and states follow Kratos' courier message."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class Status(StrEnum):
    """The status of a message."""

    QUEUED = "queued"
    PROCESSING = "processing"
    """Given to a channel, or was when the process ended: it is sent again then."""
    SENT = "sent"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Mail:
    """A rendered template: a subject of one line, and the same content as text and as HTML."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class CourierMessage:
    """A message to one recipient.

    `context` has the values for its template, sealed or as JSON, until it is sent; it is rendered outside of every
    transaction, when it is sent. Subject, bodies and `data`, the values in the clear, are empty before.
    """

    id: UUID
    status: Status
    type: str
    recipient: str
    subject: str
    body: str
    html: str
    context: str | None
    template_type: str
    channel: str
    send_count: int
    """How often it was given to the channel."""
    locale: str
    source_event: UUID | None
    last_error: str | None
    created_at: datetime
    updated_at: datetime
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def sendable(self) -> bool:
        """Whether anything is left to send. A message that an earlier version queued has bodies, and no context."""
        return self.context is not None or self.body != ""


@dataclass(frozen=True, slots=True)
class Dispatch:
    """An attempt to send a message. `error` is None where it succeeded, and never has an address."""

    id: UUID
    message_id: UUID
    error: str | None
    created_at: datetime


class SuppressionReason(StrEnum):
    """Why an address gets no mail."""

    BOUNCE = "bounce"
    """A mail server has finally said that there is no such mailbox."""
    COMPLAINT = "complaint"
    """The recipient has reported a mail as unwanted."""
    MANUAL = "manual"
    """An operator has asked for it."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address that gets no mail. `source` says who has reported it: `smtp`, `webhook` or an operator."""

    address: str
    reason: SuppressionReason
    source: str
    detail: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Some messages, newest first. `before` requests the next page; None on the last one."""

    items: tuple[CourierMessage, ...]
    before: UUID | None
