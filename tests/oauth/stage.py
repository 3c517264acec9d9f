"""Processes that issue and accept tokens, each with all of the grants, on one database and one cache."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from shopkeeper.clock import Clock
from shopkeeper.oauth.access_token_source import AccessTokenSource
from shopkeeper.oauth.client_credentials import ClientCredentialsGrant
from shopkeeper.oauth.client_sessions import ClientSessions
from shopkeeper.oauth.clients import OAuthClient
from shopkeeper.oauth.grant_types import CLIENT_CREDENTIALS, REFRESH_TOKEN, TOKEN_EXCHANGE
from shopkeeper.oauth.grants import ACCESS_TOKEN_TYPE, SESSION_TOKEN_TYPE, Issued
from shopkeeper.oauth.refresh_tokens import RefreshTokenFamilies, RefreshTokenGrant
from shopkeeper.oauth.revoked_tokens import RevokedTokens
from shopkeeper.oauth.token_endpoint import TokenEndpoint
from shopkeeper.oauth.token_exchange import TokenExchangeGrant
from shopkeeper.oauth.token_revocation import TokenRevocation
from shopkeeper.sessions.acting import Agents
from shopkeeper.sessions.authentication_gate import AuthenticationGate
from shopkeeper.sessions.token_sources import SessionTokens
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import Cache, CacheDown
from shopkeeper.storage.database import Database
from shopkeeper.throttle import Throttle
from shopkeeper.tokens.access_tokens import AccessToken, AccessTokens
from shopkeeper.tokens.signing_keys import SigningKeys
from tests.oauth.conftest import ISSUER, NEW, OLD, authentication_of, basic
from tests.sessions.conftest import AUDIT_KEY, CLIENT, Process, process
from tests.sessions.conftest import SECRETS as SECRET_TEXTS
from tests.tokens.process_keys import ProcessKeys

LIFESPAN = timedelta(minutes=10)
FAMILY = timedelta(days=30)
WINDOW = timedelta(seconds=10)
EVERY = frozenset({CLIENT_CREDENTIALS, TOKEN_EXCHANGE, REFRESH_TOKEN})
CLIENTS = {
    "orders": OAuthClient("orders", EVERY, ("orders:read", "orders:write", "stock:read"), ("stock", "search")),
    "search": OAuthClient("search", frozenset({TOKEN_EXCHANGE}), ("orders:read", "stock:read"), ("stock",)),
    "stock": OAuthClient("stock", frozenset({CLIENT_CREDENTIALS}), ("mail:send",), ("mail",), frozenset({"fruit"})),
}
SECRETS = {"orders": OLD, "search": "s" + NEW}


def signing_keys(database: Database, clock: Clock, **options: Any) -> ProcessKeys:
    """Return the keys of one process: those in the database."""
    return ProcessKeys(database, SECRET_TEXTS, clock, **options)


@dataclass(frozen=True)
class Server:
    """One process."""

    process: Process
    tokens: AccessTokens
    source: AccessTokenSource
    endpoint: TokenEndpoint
    revocation: TokenRevocation

    async def ask(self, client: str = "orders", **parameters: str) -> Issued:
        """Ask for tokens as a client."""
        return await self.endpoint.issue([basic(client, SECRETS[client])], parameters, sender=CLIENT)

    async def exchange(self, token: str, client: str = "orders", **parameters: str) -> Issued:
        """Exchange a session's token, or an access token, for an access token."""
        kind = SESSION_TOKEN_TYPE if self.process.sessions.is_ours(token) else ACCESS_TOKEN_TYPE
        asked = {"subject_token": token, "subject_token_type": kind, "audience": "stock", **parameters}
        return await self.ask(client, grant_type=TOKEN_EXCHANGE, **asked)

    async def refresh(self, token: str | None, client: str = "orders", **parameters: str) -> Issued:
        """Use a refresh token."""
        return await self.ask(client, grant_type=REFRESH_TOKEN, refresh_token=token or "", **parameters)

    async def revoke(self, token: str, client: str = "orders") -> None:
        """Revoke a token."""
        await self.revocation.revoke([basic(client, SECRETS[client])], {"token": token}, sender=CLIENT)

    async def accepts(self, token: str) -> AccessToken:
        """Return what an accepted token says."""
        return await self.source.verify(token, None)


@dataclass
class Scopes:
    """What the scope rules give every person; tests change it."""

    given: tuple[str, ...] = ("orders:read", "orders:write", "admin")

    def __call__(self, session: Any) -> tuple[str, ...]:
        return self.given


def server(
    database: Database,
    cache: Cache,
    clock: Clock,
    *,
    keys: SigningKeys | None = None,
    scopes: Scopes,
    verified_for: tuple[str, ...] = (),
    family: timedelta = FAMILY,
    agents: Agents | None = None,
) -> Server:
    """Put a process together."""
    one = process(database, cache, clock, agents=agents)
    gate = AuthenticationGate(clock=clock, verified_for=verified_for)
    tokens = AccessTokens(keys or signing_keys(database, clock), issuer=ISSUER, clock=clock, lifespan=LIFESPAN)
    revoked = RevokedTokens(database, sessions=one.sessions, clock=clock)
    source = AccessTokenSource(tokens, revoked=revoked, sessions=one.sessions, gate=gate, clients=CLIENTS)
    families = RefreshTokenFamilies(
        database, tokens=tokens, revoked=revoked, audit=Audit(clock, key=AUDIT_KEY), clock=clock, lifespan=family
    )
    authentication = authentication_of(database, clock)
    sessions = ClientSessions(one.sessions, gate=gate, person_scopes=scopes)
    exchange = TokenExchangeGrant(tokens, source=source, sessions=sessions, families=families)
    refresh = RefreshTokenGrant(
        database,
        tokens=tokens,
        families=families,
        sessions=sessions,
        replay_window=WINDOW,
        budget=_budget(clock),
        clock=clock,
    )
    grants = [ClientCredentialsGrant(tokens), exchange, refresh]
    revocation = TokenRevocation(
        database,
        authentication=authentication,
        tokens=tokens,
        revoked=revoked,
        families=families,
        others=[SessionTokens(one.sessions)],
        clock=clock,
    )
    endpoint = TokenEndpoint(CLIENTS, authentication=authentication, grants=grants)
    return Server(one, tokens, source, endpoint, revocation)


def _budget(clock: Clock) -> Throttle:
    return Throttle(
        MemoryCache(clock),
        spare=MemoryCache(clock),
        down=CacheDown,
        clock=clock,
        key=b"a key of thirty-two bytes, no less",
        name="refresh_session",
        failures=5,
        block=timedelta(minutes=1),
        block_max=timedelta(minutes=15),
        per_ip="30/minute",
    )
