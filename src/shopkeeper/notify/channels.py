"""What a channel is: the port, its error, and the inbox page of `--dev`. The others: `smtp_channel`, `http_channel`,
`file_channel`."""

from typing import Protocol

from shopkeeper.notify.values import CourierMessage


class ChannelFailed(Exception):
    """A message could not be sent. `permanent` says that trying again is useless, `bounced` that the recipient does
    not exist.

    The sentence may go into any log; `detail` has the other side's own words, which often repeat the address.
    """

    def __init__(self, reason: str, *, permanent: bool, bounced: bool = False, detail: str | None = None) -> None:
        super().__init__(reason)
        self.permanent = permanent
        self.bounced = bounced
        self.detail = detail or reason


class NotToBeSent(ChannelFailed):
    """The operator's configuration says that this message is not to be sent."""


class Channel(Protocol):
    """What sends messages to recipients."""

    async def send(self, message: CourierMessage) -> None:
        """Send a message. Raises `ChannelFailed`.

        A message may be sent twice, where the process was stopped between sending it and recording that.
        """
        ...


class InboxChannel:
    """The channel of `--dev`: a message has arrived when it is stored, and the inbox page shows what is stored."""

    async def send(self, message: CourierMessage) -> None:
        """Do nothing: the message is stored already."""
