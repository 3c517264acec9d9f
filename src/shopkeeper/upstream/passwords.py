"""Passwords that are an identity provider's: sent there, and never checked, stored or written down here."""

from typing import Final

from shopkeeper.client import Client
from shopkeeper.credentials.attempts import AttemptGuard, CredentialAttempt
from shopkeeper.credentials.linked_providers import OIDC
from shopkeeper.credentials.steps import Proof, UpstreamSession
from shopkeeper.errors import TooManyRequests
from shopkeeper.identity.normalise import LONGEST
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.openid.errors import ProviderAskedTooOften, ProviderError
from shopkeeper.openid.password_grant import Granted, PasswordGrant
from shopkeeper.openid.password_refusals import PasswordWrong, SecondFactorWanted
from shopkeeper.sessions.assurance import AssurancePolicy
from shopkeeper.storage.database import Unit
from shopkeeper.upstream.errors import IdentityProviderUnavailable, SecondFactorAtProvider
from shopkeeper.upstream.oidc import OidcTokens
from shopkeeper.upstream.provisioning import Provisioning

LONGEST_PASSWORD: Final = 1024
"""Bytes of a password that is sent to a provider."""
_PAUSE: Final = 30
"""Seconds to wait where a provider that is asked too often does not say how long."""


class ProviderPasswords:
    """Satisfies `PasswordProvider` by the password grant of an OpenID provider.

    Args:
        guard: counts attempts, in the budgets of every sign-in.
        tokens: reads groups and roles from the provider's claims.
        assurance: says which identities have a second factor here.
    """

    def __init__(
        self,
        grant: PasswordGrant,
        *,
        guard: AttemptGuard,
        tokens: OidcTokens,
        provisioning: Provisioning,
        assurance: AssurancePolicy,
    ) -> None:
        self.name = grant.provider.id
        self._grant, self._guard, self._tokens = grant, guard, tokens
        self._provisioning, self._assurance = provisioning, assurance

    async def authenticate(self, unit: Unit, *, username: str, password: str, client: Client) -> Proof:
        """See `PasswordProvider`. Raises what it does, and:

        Raises:
            SecondFactorAtProvider: the account has a second factor, here or at the provider.
            SubjectUnknown: the provider knows the account, and there is no identity for it.
            IdentityDisabled: the identity is switched off.
            IdentityProviderUnavailable: the provider gives no usable answer.
        """
        attempt = CredentialAttempt(OIDC, None, name=username, client=client)
        granted = await self._guard.judge_elsewhere(unit, attempt, lambda: self._ask(username, password))
        external = self._tokens.vouched(granted.issuer, granted.subject, granted.claims, expires_at=granted.until)
        identity = await self._provisioning.identity_of(external, token=None, client=client)
        self._require_one_factor(identity)
        told = await self._provisioning.told(identity, external, token=None, client=client)

        def still_valid(now: Identity) -> bool:
            return self._provisioning.is_linked(now, external) and self._has_one_factor(now)

        return Proof(
            identity.id,
            OIDC,
            Aal.AAL1,
            still_valid,
            provider=self.name,
            verified=told.verified,
            update=told.update,
            upstream=UpstreamSession(self.name, granted.issuer, granted.subject, sid=granted.sid),
        )

    async def _ask(self, username: str, password: str) -> Granted | None:
        """Return whom the provider vouches for, None where name or password are wrong."""
        if len(username) > LONGEST or len(password.encode("utf-8", "surrogatepass")) > LONGEST_PASSWORD:
            return None
        try:
            return await self._grant.authenticate(username, password)
        except PasswordWrong:
            return None
        except SecondFactorWanted as wanted:
            raise SecondFactorAtProvider from wanted
        except ProviderAskedTooOften as often:
            raise TooManyRequests(retry_after=often.retry_after or _PAUSE) from often
        except ProviderError as failed:
            raise IdentityProviderUnavailable.because(failed) from failed

    def _require_one_factor(self, identity: Identity) -> None:
        if not self._has_one_factor(identity):
            raise SecondFactorAtProvider

    def _has_one_factor(self, identity: Identity) -> bool:
        return self._assurance.highest_available(identity) is Aal.AAL1
