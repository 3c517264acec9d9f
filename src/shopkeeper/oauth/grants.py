"""What a grant gets and gives; the token endpoint does everything that all grants share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from shopkeeper.client import Client
from shopkeeper.oauth.clients import OAuthClient
from shopkeeper.oauth.errors import InvalidScope
from shopkeeper.sessions.values import Session
from shopkeeper.tokens.access_tokens import AccessToken, AccessTokens, TokenTooLong

ACCESS_TOKEN_TYPE: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a kind
SESSION_TOKEN_TYPE: Final = "urn:shopkeeper:params:oauth:token-type:session_token"  # noqa: S105 - the name of a kind


@dataclass(frozen=True, slots=True)
class GrantRequest:
    """A request of a client that is authenticated and may use the grant.

    Args:
        parameters: those of the form, each once and none empty.
        sender: where the request comes from.
    """

    client: OAuthClient
    parameters: Mapping[str, str]
    sender: Client


@dataclass(frozen=True, slots=True)
class Issued:
    """What is issued (RFC 6749 section 5.1, RFC 8693 section 2.2.1).

    Args:
        said: what the access token says.
        refresh_token: its refresh token, where it has one.
        issued_token_type: the kind of the token, where it was exchanged.
    """

    access_token: str
    said: AccessToken
    refresh_token: str | None = None
    issued_token_type: str | None = None


class Grant(Protocol):
    """One way to obtain tokens."""

    @property
    def grant_type(self) -> str:
        """The value of `grant_type`."""
        ...

    async def issue(self, request: GrantRequest) -> Issued:
        """Issue tokens. Raises `OAuthRefused`."""
        ...


@dataclass(frozen=True, slots=True)
class SessionGrant:
    """What is granted for a session: one client, one audience, some scopes, until the session ends.

    Args:
        lineage: what the access token comes from, and is revoked with.
    """

    session: Session
    client: OAuthClient
    audience: str
    scope: Sequence[str]
    lineage: Sequence[UUID] = ()


async def issue_for_session(
    tokens: AccessTokens, granted: SessionGrant, *, until: datetime | None = None
) -> tuple[str, AccessToken]:
    """Return an access token for a session, which ends with it, or at `until` if that is earlier.

    Raises `InvalidScope` where the token would be too long.
    """
    session = granted.session
    ends_at = session.expires_at if until is None else min(session.expires_at, until)
    try:
        return await tokens.issue(
            subject=str(session.identity.id),
            client_id=granted.client.id,
            audience=granted.audience,
            scope=granted.scope,
            until=ends_at,
            session=session.id,
            stores=() if session.store is None else (session.store,),
            lineage=granted.lineage,
            actor=session.actor.subject if session.actor is not None else None,
        )
    except TokenTooLong as too_long:
        raise InvalidScope("These are too many scopes for one token: ask for fewer.") from too_long
