"""The file channel: writes each mail into a folder, for another program to send or for tests to read."""

import asyncio
import os
from pathlib import Path
from tempfile import NamedTemporaryFile

from shopkeeper.notify.addresses import on_the_wire
from shopkeeper.notify.channels import ChannelFailed
from shopkeeper.notify.compose import MailComposer
from shopkeeper.notify.mail_lines import as_bytes
from shopkeeper.notify.values import CourierMessage
from shopkeeper.transaction_guard import refuse_inside_transaction


class FileChannel:
    """A folder of `.eml` files (RFC 5322), named after their messages.

    A file appears under its name when it is complete. A message that is sent twice is one file. Mails may hold codes,
    so that only the server's own user may read them.
    """

    def __init__(self, folder: Path, composer: MailComposer) -> None:
        self._folder = folder
        self._composer = composer

    async def send(self, message: CourierMessage) -> None:
        """Write a message. Raises `ChannelFailed`."""
        refuse_inside_transaction("The folder for mails")
        recipient = on_the_wire(message.recipient)
        mail = as_bytes(self._composer.compose(message, recipient=recipient), utf8=not recipient.isascii())
        try:
            await asyncio.to_thread(self._write, f"{message.id}.eml", mail)
        except OSError as failed:
            reason = f"the folder for mails cannot be written to ({failed.strerror})"
            raise ChannelFailed(reason, permanent=False) from failed

    def _write(self, name: str, mail: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=self._folder, prefix=".", suffix=".part", delete=False) as file:
            try:
                file.write(mail)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(self._folder / name)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
