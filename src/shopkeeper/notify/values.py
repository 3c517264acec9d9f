"""Messages as values. Shapes and states follow Kratos' courier message."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
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
    """A message to one recipient, rendered when it was queued and never again."""

    id: UUID
    status: Status
    type: str
    recipient: str
    subject: str
    body: str
    html: str
    template_type: str
    channel: str
    send_count: int
    """How often it was given to the channel."""
    locale: str
    source_event: UUID | None
    last_error: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Some messages, newest first. `before` requests the next page; None on the last one."""

    items: tuple[CourierMessage, ...]
    before: UUID | None
