"""Whose proof a verification is: the registrant's, or only that of the address's owner, who may be somebody else.

Whoever registers an address need not own it (pre-hijacking): they choose a password, keep the session, and wait until
the owner confirms the address. So a verification counts for the registrant where one of these is true:

- its flow was opened for the account: by registering, by a sign-in, by a change of the address, or by a request of a
  session of the account;
- a session of the account sends the code;
- the browser that sends it had such a flow opened for the account shortly before: it registered, or knows the password;
- the flow is an app's: the contract's clients send no session token with it, so that an app whose customer is signed in
  cannot be told from any other.

Every other one was asked for in a browser with the address alone. It proves the owner of the address, and nothing that
was set before is known to be theirs.
"""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Final, Protocol
from uuid import UUID

from shopkeeper import crypto
from shopkeeper.client import Client
from shopkeeper.errors import TooManyRequests
from shopkeeper.flows.flow import VERIFICATION, Caller, Flow, FlowType, csrf_digest
from shopkeeper.identity.extraction import Address
from shopkeeper.identity.values import Identity
from shopkeeper.storage.cache.port import Cache, CacheDown

ACCOUNT: Final = "account"
"""The key in a verification flow's context of the account that it was opened for."""
REMEMBERED_FOR: Final = timedelta(days=1)
"""How long a browser is known to have registered an account, or to know its password."""
PER_CLIENT: Final = "1000/day"
"""How many browsers are remembered for one client's address. Any client can make many; the cache keeps them all."""


class Budget(Protocol):
    """Limits how many browsers one client makes us remember."""

    async def spend(self, source: str) -> None:
        """Count one for a client's address. Raises `TooManyRequests`."""
        ...


def opened_for(flow: Flow, identity_id: UUID) -> Flow:
    """Return the verification flow as one that was opened for an account."""
    return replace(flow, context={**flow.context, ACCOUNT: str(identity_id)})


def remembering_account(flow: Flow, caller: Caller) -> Flow:
    """Return the flow with the account whose session asks for a mail, if it is a verification and there is one."""
    if flow.kind != VERIFICATION or caller.session is None:
        return flow
    return opened_for(flow, caller.session.identity.id)


class Registrants:
    """Knows which verifications are those of the account's registrant.

    Args:
        cache: remembers browsers, by a digest. Without it a browser is not recognised, and has to register or sign in
            first.
        budget: limits them; beyond it a browser is not recognised either.
    """

    def __init__(self, cache: Cache, *, budget: Budget) -> None:
        self._cache = cache
        self._budget = budget

    async def remember(self, flow: Flow, identity_id: UUID, *, client: Client) -> None:
        """Remember the browser that a verification flow was opened for. Call it after the commit."""
        if flow.csrf is not None:
            with suppress(CacheDown, TooManyRequests):
                await self._budget.spend(client.ip)
                await self._cache.set(_key(flow.csrf, identity_id), b"1", ttl=REMEMBERED_FOR)

    async def proven_by(self, flow: Flow, caller: Caller, identity_id: UUID) -> bool:
        """Return whether completing this flow proves the registrant of the account. No transaction may be open."""
        if flow.type is FlowType.API or flow.context.get(ACCOUNT) == str(identity_id):
            return True
        if caller.signed_in_as(identity_id):
            return True
        return any([await self._knows(csrf_digest(token), identity_id) for token in caller.csrf_tokens])

    def beside_verified(self, flow: Flow, caller: Caller, identity: Identity, address: Address) -> bool:
        """Return whether completing this flow proves an address although the account has verified another one.

        That takes a session of the account, or a flow that was opened for it since the address was entered. A takeover
        counts as entering the other addresses, so that whoever had the account before keeps no flow.
        """
        if caller.signed_in_as(identity.id):
            return True
        entered = [each.created_at for each in identity.verifiable_addresses if (each.via, each.value) == address]
        return flow.context.get(ACCOUNT) == str(identity.id) and all(at <= flow.issued_at for at in entered)

    async def _knows(self, browser: bytes, identity_id: UUID) -> bool:
        try:
            return await self._cache.get(_key(browser, identity_id)) is not None
        except CacheDown:
            return False


def _key(browser: bytes, identity_id: UUID) -> str:
    return f"registrant:{crypto.digest(f'{browser.hex()} {identity_id}').hex()}"
