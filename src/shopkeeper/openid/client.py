"""The client of one provider: makes the requests of a sign-in, and verifies the answers."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

import msgspec
import structlog

from shopkeeper.clock import Clock
from shopkeeper.crypto import same
from shopkeeper.http_client import GuardedClient
from shopkeeper.openid import id_token, logout_token
from shopkeeper.openid.authenticated import Authenticated, LogoutToken, usable_hint
from shopkeeper.openid.authorization import authorization_request, redeemable_code, uses_pkce, with_query
from shopkeeper.openid.calls import Limits, ProviderCalls
from shopkeeper.openid.errors import (
    AuthorizationRefused,
    ProviderAnswerInvalid,
    ProviderError,
    ProviderTokenInvalid,
    ProviderUnavailable,
)
from shopkeeper.openid.id_token import Expected, check_id_token
from shopkeeper.openid.keys import KeySource
from shopkeeper.openid.logout_token import check_logout_token
from shopkeeper.openid.metadata import Metadata, MetadataSource
from shopkeeper.openid.provider import Provider
from shopkeeper.openid.reachability import Reachability
from shopkeeper.openid.token_claims import require_text, time_claim
from shopkeeper.openid.token_endpoint import TokenEndpoint, Tokens
from shopkeeper.openid.tokens import SignedToken, verify_signature
from shopkeeper.openid.userinfo import Userinfo, claims_of_answer, claims_of_userinfo
from shopkeeper.tally import Tally
from shopkeeper.transaction_guard import refuse_inside_transaction

log = structlog.get_logger("shopkeeper.openid")

LIMITS: Final = Limits()
MAX_CLAIMS: Final = 64 * 1024
"""Bytes of all claims, as JSON."""
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_OF_THE_TOKEN: Final = frozenset(
    {"iss", "sub", "aud", "azp", "exp", "iat", "nbf", "auth_time", "nonce", "acr", "amr", "at_hash", "sid", "tid"}
)
"""Claims about the sign-in itself: userinfo, which is not signed, must not replace them."""


class OpenIDClient:
    """Signs users in at one provider (OpenID Connect Core 1.0 section 3.1, RFC 6749 section 4.1).

    Every method may call the provider, so none may be called inside a transaction. Each raises `ProviderUnavailable`
    where the provider is away, after ten seconds at most. Nothing runs on after a method has returned.

    Args:
        others: the other configured providers, whose answers are none of this one's.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        http: GuardedClient,
        clock: Clock,
        limits: Limits = LIMITS,
        tally: Tally | None = None,
        others: Collection[Provider] = (),
    ) -> None:
        self.provider = provider
        self._others = others
        self._clock, self._limits, self._tally = clock, limits, tally or Tally()
        self.calls = ProviderCalls(http, clock, limits)
        self._metadata = MetadataSource(provider, self.calls, clock)
        self.token_endpoint = TokenEndpoint(provider, self.calls, clock)
        self.userinfo = Userinfo(provider, self.calls)
        self._keys: KeySource | None = None
        self._reachability = Reachability(self.calls, clock)

    async def reach(self) -> None:
        """Raise `ProviderUnavailable` where the provider does not answer. An answer counts for ten seconds.

        Metadata outlive a provider that goes away. So this is asked before a browser is sent there for something that
        it can do without; for a sign-in that somebody asks for, the browser's own error page is the better answer.
        """
        async with self.conversation():
            metadata = await self.metadata()
            url = self._metadata.url if self.provider.discovers else metadata.authorization_endpoint
            if url is not None:
                await self._reachability.check(url)

    async def metadata(self, *, for_token: bool = False) -> Metadata:
        """Return what the provider says of itself; `for_token` as in `MetadataSource.get`."""
        return await self._metadata.get(for_token=for_token)

    async def metadata_for(self, *needed: str, authenticated: bool = False) -> Metadata:
        """Return what calls of some endpoints need; see `MetadataSource.get_for`."""
        return await self._metadata.get_for(*needed, authenticated=authenticated)

    async def new_code_verifier(self) -> str | None:
        """Return a PKCE verifier (RFC 7636 section 4.1) for a browser that leaves; None where none is to be used.

        The provider's PKCE mode decides, and its metadata, which may be other ones when the browser comes back.
        """
        async with self.conversation():
            used = uses_pkce(self.provider, await self.metadata())
            return secrets.token_urlsafe(48) if used else None

    async def authorization_url(
        self,
        *,
        redirect_uri: str,
        state: str,
        nonce: str,
        code_verifier: str | None,
        parameters: Mapping[str, str] = _NONE,
    ) -> str:
        """Return where to send the browser.

        Args:
            nonce: comes back in the ID token; a random text of the caller.
            code_verifier: what `new_code_verifier` has returned; `authenticate` gets it back.
            parameters: what the request adds: `prompt`, `max_age`, `login_hint`, `hd`, `acr_values`, `auth_type`. It
                cannot replace what the protocol needs.
        """
        async with self.conversation():
            return authorization_request(
                self.provider,
                await self.metadata(),
                redirect_uri=redirect_uri,
                state=state,
                nonce=nonce,
                code_verifier=code_verifier,
                parameters=parameters,
            )

    async def authenticate(
        self, query: Mapping[str, str], *, redirect_uri: str, nonce: str, code_verifier: str | None
    ) -> Authenticated:
        """Redeem the authorization answer in the query or form of the callback. `state` was checked by the caller.

        Raises:
            AuthorizationRefused: the provider sent an error instead of a code, or does not accept the code.
            ProviderAnswerInvalid: an answer is not what the protocol says, or its `iss` is another provider's.
            ProviderTokenInvalid: the ID token is not valid.
        """
        async with self.conversation():
            metadata = await self.metadata()
            code = redeemable_code(query, self.provider, metadata, others=self._others)
            tokens = await self.token_endpoint.redeem(
                code, metadata, redirect_uri=redirect_uri, code_verifier=code_verifier
            )
            if self.provider.has_id_token:
                authenticated = await self._by_id_token(tokens, metadata, nonce=nonce)
            else:
                authenticated = await self._by_userinfo(tokens, metadata)
            self.count("authenticated")
            return self._with_names(authenticated, query)

    async def verify_id_token(self, token: str, *, nonce: str | None) -> Authenticated:
        """Verify an ID token that a native app got from the provider. `nonce` None accepts tokens without one only.

        Anybody may have read the token and its nonce: it is `one_use`.

        Raises:
            ProviderTokenInvalid: it is not valid, or was made for another application.
        """
        async with self.conversation():
            metadata = await self.metadata(for_token=True)
            signed = await self.verified(token, metadata, types=id_token.TYPES, trusted=False)
            ours = {self.provider.client_id, *self.provider.additional_audiences}
            expected = Expected(audiences=ours, issuer=metadata.issuer, nonce=nonce, redeemed=False)
            now = self._clock.now()
            issuer, subject = check_id_token(signed, expected, provider=self.provider, now=now)
            self.count("authenticated")
            found = self._dated(
                _authenticated(issuer, subject, signed.claims, id_token=token, sid=signed.claims.get("sid"))
            )
            return replace(found, one_use=id_token.one_use(signed, issuer, now=now))

    async def verify_logout_token(self, token: str) -> LogoutToken:
        """Verify a logout token (OpenID Connect Back-Channel Logout 1.0 section 2.6).

        Raises:
            ProviderTokenInvalid: it is not valid.
        """
        async with self.conversation():
            metadata = await self.metadata(for_token=True)
            signed = await self.verified(token, metadata, types=logout_token.TYPES, trusted=False)
            now = self._clock.now()
            return check_logout_token(signed, provider=self.provider, announced=metadata.issuer, now=now)

    async def end_session_url(
        self, *, id_token_hint: str | None, post_logout_redirect_uri: str | None, state: str | None
    ) -> str | None:
        """Return where to send the browser to sign out at the provider, None where the provider offers no such place.

        OpenID Connect RP-Initiated Logout 1.0 section 2.
        """
        async with self.conversation():
            endpoint = (await self.metadata()).end_session_endpoint
            if endpoint is None:
                return None
            parameters = {
                "client_id": self.provider.client_id,
                "id_token_hint": usable_hint(id_token_hint),
                "post_logout_redirect_uri": post_logout_redirect_uri,
                "state": state,
            }
            return with_query(endpoint, {name: value for name, value in parameters.items() if value is not None})

    async def _by_id_token(self, tokens: Tokens, metadata: Metadata, *, nonce: str) -> Authenticated:
        if tokens.id_token is None:
            raise ProviderAnswerInvalid(
                "The provider's token answer has no ID token, although 'openid' was asked for.", cause="no_id_token"
            )
        signed = await self.verified(tokens.id_token, metadata, types=id_token.TYPES, trusted=True)
        expected = Expected(
            audiences={self.provider.client_id},
            issuer=metadata.issuer,
            nonce=nonce if self.provider.sends_nonce else None,
            access_token=tokens.access_token,
        )
        issuer, subject = check_id_token(signed, expected, provider=self.provider, now=self._clock.now())
        claims: Mapping[str, Any] = signed.claims
        raw: Mapping[str, Any] = signed.claims
        if self.provider.claims_source == "userinfo":
            claims, raw = await self._with_userinfo(signed, tokens, metadata)
        return self._dated(
            _authenticated(
                issuer, subject, claims, raw_claims=raw, tokens=tokens, id_token=tokens.id_token, sid=claims.get("sid")
            )
        )

    async def _with_userinfo(
        self, signed: SignedToken, tokens: Tokens, metadata: Metadata
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        document = await self.userinfo.read(metadata.userinfo_endpoint, tokens, secret=self.token_endpoint.secret)
        claims = claims_of_userinfo(document, self.provider.userinfo)
        # The answer could be about another user, by a token that was exchanged on the way (Core 1.0 section 5.3.2).
        if not isinstance(claims.get("sub"), str) or not same(claims["sub"], signed.claims["sub"]):
            raise ProviderAnswerInvalid("The provider's userinfo is about another user.", cause="userinfo_subject")
        signed_claims = {name: value for name, value in signed.claims.items() if name in _OF_THE_TOKEN}
        return {name: value for name, value in claims.items() if name not in _OF_THE_TOKEN} | signed_claims, document

    async def _by_userinfo(self, tokens: Tokens, metadata: Metadata) -> Authenticated:
        document = await self.userinfo.read(metadata.userinfo_endpoint, tokens, secret=self.token_endpoint.secret)
        claims = claims_of_userinfo(document, self.provider.userinfo)
        try:
            subject = require_text(claims, self.provider.subject_claim)
        except ProviderTokenInvalid as missing:
            raise ProviderAnswerInvalid("The provider's userinfo names no user.", cause="userinfo_subject") from missing
        claims["iss"] = self.provider.issuer
        return _authenticated(self.provider.issuer, subject, claims, raw_claims=document, tokens=tokens)

    async def verified(
        self, token: str, metadata: Metadata, *, types: Collection[str | None], trusted: bool
    ) -> SignedToken:
        """Return a token that the provider signed; see `verify_signature`. What it says is not checked yet."""
        if metadata.jwks_uri is None:
            raise ProviderAnswerInvalid("The provider names no keys for its tokens.", cause="no_endpoint")
        if self._keys is None or self._keys.url != metadata.jwks_uri:
            self._keys = KeySource(metadata.jwks_uri, self.calls, self._clock)
        return await verify_signature(
            token, self._keys, algorithms=self.provider.algorithms, types=types, trusted=trusted
        )

    def _dated(self, authenticated: Authenticated) -> Authenticated:
        """Return what an ID token proves, with its times; userinfo cannot replace them (`_OF_THE_TOKEN`)."""
        claims, now = authenticated.claims, self._clock.now()
        issued_at, auth_time = (time_claim(claims, name, now=now) for name in ("iat", "auth_time"))
        return replace(authenticated, issued_at=issued_at, auth_time=auth_time)

    def _with_names(self, authenticated: Authenticated, query: Mapping[str, str]) -> Authenticated:
        names = claims_of_answer(query, self.provider.userinfo)
        if not names:
            return authenticated
        return replace(authenticated, claims={**names, **authenticated.claims})

    def count(self, outcome: str) -> None:
        self._tally.count("provider_answers", self.provider.id, outcome)

    @asynccontextmanager
    async def conversation(self, *, for_token: bool = False) -> AsyncIterator[None]:
        """Bound a conversation with the provider; log and count how it failed.

        `for_token` says that it is about a token that anybody may have written: that it is refused is no fault.
        """
        refuse_inside_transaction("An identity provider")
        try:
            async with asyncio.timeout(self._limits.conversation):
                yield
        except TimeoutError as late:
            self.count(ProviderUnavailable.code)
            log.warning("provider.failed", provider=self.provider.id, cause="deadline", reason=None)
            raise ProviderUnavailable("The provider takes too long.", cause="deadline") from late
        except AuthorizationRefused as refusal:
            self.count(refusal.code)
            log.info("provider.refused", provider=self.provider.id, error=refusal.error, text=refusal.description)
            raise
        except ProviderError as failure:
            self.count(failure.code)
            if not failure.at_fault or (for_token and isinstance(failure, ProviderTokenInvalid)):
                log.info("provider.not_accepted", provider=self.provider.id, cause=failure.cause, reason=failure.detail)
                raise
            log.warning("provider.failed", provider=self.provider.id, cause=failure.cause, reason=failure.detail)
            raise


def _authenticated(
    issuer: str,
    subject: str,
    claims: Mapping[str, Any],
    *,
    raw_claims: Mapping[str, Any] | None = None,
    tokens: Tokens | None = None,
    id_token: str | None = None,
    sid: str | None = None,
) -> Authenticated:
    """Put together what was verified. Raises `ProviderAnswerInvalid` where the claims are too large."""
    raw = claims if raw_claims is None else raw_claims
    if any(len(msgspec.json.encode(each)) > MAX_CLAIMS for each in (claims, raw)):
        raise ProviderAnswerInvalid("The provider says more of the user than is read.", cause="too_large")
    return Authenticated(
        claims=claims,
        subject=subject,
        issuer=issuer,
        raw_claims=raw,
        id_token=id_token,
        sid=sid,
        access_token=tokens.access_token if tokens else None,
        refresh_token=tokens.refresh_token if tokens else None,
        expires_in=tokens.expires_in if tokens else None,
    )
