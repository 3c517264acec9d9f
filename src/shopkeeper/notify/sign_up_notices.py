"""Limits the mails `sign_up_attempt` and `address_wanted`, which tell the owner of an address that somebody else has
used it: to register again, or for another account.

The registrar, the methods that mail before an identity is created and the settings flow share the limit.
"""

from contextlib import suppress
from datetime import timedelta

from shopkeeper import crypto
from shopkeeper.notify.addresses import mailbox_of
from shopkeeper.storage.cache.port import Cache, CacheDown

NOTIFIED_FOR = timedelta(hours=1)
"""The time for which an address gets no second mail, so that strangers cannot fill an inbox."""


class SignUpNotices:
    """Remembers which mailboxes got the mail, whatever the tag of their addresses, which are normalised.

    Args:
        cache: keeps the addresses, as digests. While it is down, every attempt is mailed.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def was_sent(self, address: str) -> bool:
        """Return whether the address recently got the mail. Ask for free addresses too, so that the time reveals
        nothing."""
        try:
            return await self._cache.get(_key(address)) is not None
        except CacheDown:
            return False

    async def remember(self, address: str) -> None:
        """Remember that the address gets the mail. Call it after the commit."""
        with suppress(CacheDown):
            await self._cache.add(_key(address), b"1", ttl=NOTIFIED_FOR)

    async def look_up(self, address: str) -> None:
        """Do the work of `remember` for an address that gets no such mail, so that the time reveals nothing."""
        await self.was_sent(address)


def _key(address: str) -> str:
    return f"sign-up-told:{crypto.digest(mailbox_of(address)).hex()}"
