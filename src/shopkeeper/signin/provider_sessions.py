"""Provider sessions: which session at an identity provider each of our sessions began with.

Written by the transaction of the sign-in, or of the link of an account, and deleted by the one that ends the session
(`forget` of `Sessions`); moved where a sign-in replaces a session of the same identity. Needed where a sign-out leads
on to the provider (OpenID Connect RP-Initiated Logout 1.0), and where the provider signs somebody out here (OpenID
Connect Back-Channel Logout 1.0).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

import msgspec

from shopkeeper import crypto
from shopkeeper.clock import Clock
from shopkeeper.credentials.steps import UpstreamSession
from shopkeeper.crypto import KeyRing, Unsealable
from shopkeeper.openid.authenticated import usable_hint
from shopkeeper.openid.errors import ProviderTokenInvalid
from shopkeeper.signin import provider_session_store as store
from shopkeeper.signin.provider_session_store import ProviderSessionRow
from shopkeeper.storage.database import Unit
from shopkeeper.tokens import received_token_store as received

PURPOSE: Final = "provider sessions"
"""The purpose of the key ring, for key derivation."""


@dataclass(frozen=True, slots=True)
class ProviderSession:
    """The session at a provider that one of ours began with.

    Args:
        id_token: the `id_token_hint`; None where none was kept or it cannot be opened.
        issuer: who issued that, because the provider's id may be configured to mean another issuer by now.
    """

    provider: str
    id_token: str | None
    issuer: str | None = None


class ProviderSessions:
    """Remembers and finds provider sessions.

    Args:
        keys: seals ID tokens.
        keeps_id_tokens_of: the ids of the providers whose ID tokens are kept, because a sign-out leads there.
    """

    def __init__(self, *, keys: KeyRing, clock: Clock, keeps_id_tokens_of: Collection[str] = ()) -> None:
        self._keys = keys
        self._clock = clock
        self._keeps = frozenset(keeps_id_tokens_of)

    async def remember(self, unit: Unit, session_id: UUID, *upstreams: UpstreamSession) -> None:
        """Store the providers' sessions that one of ours began with, was confirmed by, or has linked accounts from. Of
        several of one provider the last one counts: a browser has one there.

        It takes no statement of its own, but for a token that signs in once. The unit has started our session or locked
        it. Raises `ProviderTokenInvalid` where such a token has signed in before.
        """
        for once in dict.fromkeys(each.one_use for each in upstreams if each.one_use is not None):
            if not await received.is_first(unit, once.digest, expires_at=once.until):
                raise ProviderTokenInvalid("The token has signed in before.", cause="received_before")
        for upstream in {each.provider: each for each in upstreams}.values():
            store.put(unit, self._row(session_id, upstream))

    def _row(self, session_id: UUID, upstream: UpstreamSession) -> ProviderSessionRow:
        return ProviderSessionRow(
            session_id=session_id,
            provider=upstream.provider,
            subject_digest=_digest(upstream.issuer, upstream.subject),
            sid_digest=_digest(upstream.issuer, upstream.sid) if upstream.sid is not None else None,
            id_token=self._sealed(session_id, upstream.provider, upstream.issuer, upstream.id_token),
            began_at=self._clock.now(),
        )

    async def move(self, unit: Unit, session_id: UUID, to: UUID, *, but: Collection[str] = ()) -> None:
        """Store the providers' sessions of one of ours for the session that takes its place, but for those of the
        providers that this one began with. Call it before the old session ends; the new one may start afterwards."""
        for row in await store.of_sessions(unit, [session_id]):
            if row.provider not in but:
                known = self._opened(row)
                sealed = self._sealed(to, row.provider, known.issuer, known.id_token)
                store.put(unit, replace(row, session_id=to, id_token=sealed))

    async def of(self, unit: Unit, session_ids: Sequence[UUID]) -> Sequence[ProviderSession]:
        """Return the providers' sessions that sessions of ours began with, the newest first."""
        rows = sorted(await store.of_sessions(unit, session_ids), key=lambda row: row.began_at, reverse=True)
        return [self._opened(row) for row in rows]

    async def find(
        self,
        unit: Unit,
        provider: str,
        *,
        issuer: str,
        subject: str | None,
        sid: str | None,
        limit: int,
        after: UUID | None = None,
    ) -> Sequence[UUID]:
        """Return at most `limit` ids of our sessions that began with this session at the provider, or with any of this
        subject where `sid` is None, in order, those beyond `after`. Sessions of the subject that began without a `sid`
        are found in either case. Raises `ValueError` where both are None."""
        if subject is None and sid is None:
            raise ValueError("a provider's session is found by its subject or its sid")
        return await store.sessions_of(
            unit,
            provider,
            subject=_digest(issuer, subject) if subject is not None else None,
            sid=_digest(issuer, sid) if sid is not None else None,
            limit=limit,
            after=after,
        )

    def _sealed(self, session_id: UUID, provider: str, issuer: str | None, id_token: str | None) -> bytes | None:
        """Return an ID token as it is kept; None where it is not."""
        hint = usable_hint(id_token) if provider in self._keeps else None
        if hint is None:
            return None
        return self._keys.seal(msgspec.json.encode((issuer, hint)), context=_context(session_id, provider))

    def _opened(self, row: ProviderSessionRow) -> ProviderSession:
        if row.id_token is None:
            return ProviderSession(row.provider, None)
        try:
            plain = self._keys.open(row.id_token, context=_context(row.session_id, row.provider))
            issuer, id_token = msgspec.json.decode(plain, type=tuple[str, str])
        except (Unsealable, msgspec.DecodeError):  # the secret is gone: the provider is asked without the hint
            return ProviderSession(row.provider, None)
        return ProviderSession(row.provider, id_token, issuer)


def _digest(issuer: str, name: str) -> bytes:
    # The length keeps the two apart, so that no other issuer and name give the same bytes.
    return crypto.digest(f"{len(issuer)}:{issuer}{name}")


def _context(session_id: UUID, provider: str) -> bytes:
    return f"{session_id}/{provider}".encode()
