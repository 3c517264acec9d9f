"""A message as the rest of the house sees it. Shapes and states follow Kratos' courier message."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Status(StrEnum):
    """How far a message has come."""

    QUEUED = "queued"
    PROCESSING = "processing"
    """Handed to a channel, or was when the process ended: it is sent again then."""
    SENT = "sent"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Mail:
    """What a template makes: a subject of one line, and the same words twice."""

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
    """How often it was handed to the channel."""
    locale: str
    source_event: UUID | None
    last_error: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Some messages, newest first. `before` asks for the page after this one; none where this is the last."""

    items: tuple[CourierMessage, ...]
    before: UUID | None
