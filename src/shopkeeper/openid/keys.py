"""The public keys by which a provider signs (RFC 7517), read again when a token names one that is not known."""

from datetime import timedelta
from http import HTTPStatus
from typing import Final

from shopkeeper.clock import Clock
from shopkeeper.jose.errors import KeysInvalid
from shopkeeper.jose.keys import KeySet
from shopkeeper.openid.calls import ProviderCalls, parse_object
from shopkeeper.openid.errors import ProviderAnswerInvalid
from shopkeeper.openid.renewal import FLOOR, RenewedFromProvider

FRESH: Final = timedelta(minutes=15)
"""How long a key that the provider has withdrawn may still be accepted while the provider answers."""
USABLE: Final = timedelta(hours=12)
"""The same while the provider is away."""


class KeySource:
    """The keys at one address."""

    def __init__(self, url: str, calls: ProviderCalls, clock: Clock) -> None:
        self.url = url
        self._calls = calls
        self._keys = RenewedFromProvider(self._read, clock=clock, fresh=FRESH, usable=USABLE)

    async def get(self, *, trusted: bool) -> KeySet:
        """Return the keys; `trusted` as in `renew`. Raises `ProviderUnavailable` or `ProviderAnswerInvalid` where none
        are usable."""
        return await self._keys.get(floor=timedelta(0) if trusted else FLOOR)

    async def renew(self, *, trusted: bool) -> KeySet:
        """Return the keys, read again.

        Args:
            trusted: the token that names an unknown key came from the provider itself. Other tokens, which anybody can
                write, cause one reading in each `FLOOR`.
        """
        return await self._keys.renew(floor=timedelta(0) if trusted else FLOOR)

    async def _read(self) -> KeySet:
        response = await self._calls.send("GET", self.url)
        if response.status != HTTPStatus.OK:
            raise ProviderAnswerInvalid(
                f"The provider's keys could not be read: it answered with {response.status}.", cause="no_keys"
            )
        return parse_keys(response.body)


def parse_keys(body: bytes) -> KeySet:
    """Parse a JWK set into the keys that we accept; see `KeySet.of_jwks`.

    Raises:
        ProviderAnswerInvalid: it is no key set, or has too many keys.
    """
    try:
        return KeySet.of_jwks(parse_object(body, what="The provider's key set"))
    except KeysInvalid as broken:
        raise ProviderAnswerInvalid("The provider's key set has no keys, or too many.", cause="keys") from broken
