"""What social sign-in keeps in a flow, sealed: between leaving for the provider and coming back, and after coming back
where the registration still asks for traits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec

from shopkeeper.crypto import KeyRing, Unsealable
from shopkeeper.identity.values import Aal
from shopkeeper.openid.authenticated import OneUse

PURPOSE: Final = "social sign-in"
"""The purpose of the key ring, for key derivation."""
DEPARTURE, ARRIVAL = "departure", "arrival"

Kept = TypeVar("Kept", "Departure", "Arrival")


@dataclass(frozen=True, slots=True)
class Departure:
    """A browser that was redirected to a provider, which may send it back once.

    Args:
        nonce, code_verifier: what the answer is bound to (OpenID Connect Core 1.0 section 3.1.2.1, RFC 7636). None
            where the request had no PKCE challenge: then the code is redeemed without one, too.
        redirect_uri: as it was sent; redeeming the code repeats it.
        links: whether the account is to be linked to the identity that is signed in.
        parameters: what was added to the request, such as `prompt`.
        fresh_since: when it left, where the sign-in at the provider must be a new one (`oidc_confirmations.py`).
        attempt: the attempt that it was counted as (`provider_attempts.py`).
    """

    provider: str
    nonce: str
    code_verifier: str | None
    redirect_uri: str
    links: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)
    fresh_since: datetime | None = None
    attempt: str | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """An account at a provider that is authenticated and belongs to no identity yet.

    Args:
        traits: what the provider told, mapped.
        verified: e-mail addresses and phone numbers that the provider has verified, as pairs of `via` and value.
        groups: those that the provider gives; None where it says nothing of them.
        aal: the level that the sign-in at the provider stands for.
        until: when it counts no more: the provider is asked again then.
    """

    provider: str
    subject: str
    issuer: str
    until: datetime
    traits: Mapping[str, Any] = field(default_factory=dict)
    metadata_public: Any = None
    metadata_admin: Any = None
    verified: tuple[tuple[str, str], ...] = ()
    sid: str | None = None
    id_token: str | None = None
    one_use: OneUse | None = None
    aal: Aal = Aal.AAL1
    groups: tuple[str, ...] | None = None


class SocialContexts:
    """Seals contexts and opens them.

    A departure can be opened only in the flow that it was sealed for; an arrival moves to the registration that asks
    for more.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def departing(self, flow_id: UUID | None, departure: Departure) -> Mapping[str, Any]:
        """Return the context of a flow that has left."""
        return {DEPARTURE: self._sealed(DEPARTURE, flow_id, departure)}

    def arrived(self, arrival: Arrival) -> Mapping[str, Any]:
        """Return the context of a flow that asks for more traits."""
        return {ARRIVAL: self._sealed(ARRIVAL, None, arrival)}

    def departure(self, flow_id: UUID | None, context: Mapping[str, Any]) -> Departure | None:
        """Return the departure of a flow; None where there is none that can be opened."""
        return self._opened(DEPARTURE, flow_id, context, Departure)

    def arrival(self, context: Mapping[str, Any]) -> Arrival | None:
        """Return the arrival of a flow; None where there is none that can be opened."""
        return self._opened(ARRIVAL, None, context, Arrival)

    def _sealed(self, name: str, flow_id: UUID | None, kept: Departure | Arrival) -> str:
        return self._keys.seal_text(msgspec.json.encode(kept), context=_bound(name, flow_id))

    def _opened(self, name: str, flow_id: UUID | None, context: Mapping[str, Any], kept: type[Kept]) -> Kept | None:
        sealed = context.get(name)
        if not isinstance(sealed, str):
            return None
        try:
            return msgspec.json.decode(self._keys.open_text(sealed, context=_bound(name, flow_id)), type=kept)
        except (Unsealable, msgspec.MsgspecError):
            return None


def _bound(name: str, flow_id: UUID | None) -> bytes:
    return f"{name}/{flow_id}".encode()
