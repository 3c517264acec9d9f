"""Confirming a session, or raising it to AAL2, by a provider: which ones can, and what their answers must show.

A provider's session may have lived for weeks, and what asks for a new sign-in travels through the browser, where it can
be taken out. So only `auth_time` proves one (OpenID Connect Core 1.0 sections 3.1.2.1 and 3.1.3.7, number 13). A
provider that does not tell it confirms nothing, except for accounts that have no other way to sign in: for those the
answer itself must be a new one.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

from shopkeeper.clock import Clock
from shopkeeper.credentials.linked_providers import LinkedAccount
from shopkeeper.credentials.method import MethodView
from shopkeeper.credentials.social_provider import SocialProvider, SocialProviders
from shopkeeper.credentials.steps import SubmissionRejected
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.jose.claims import LEEWAY
from shopkeeper.openid.authenticated import Authenticated
from shopkeeper.openid.provider import Provider
from shopkeeper.ui.messages import reason

_NEW_SIGN_IN: Final = {"prompt": "login", "max_age": "0"}


class Confirmations:
    """Decides which providers confirm, and whether one has.

    Args:
        other_ways: the types of the other credentials that are switched on and can sign in alone.
    """

    def __init__(self, providers: SocialProviders, *, other_ways: Collection[str], clock: Clock) -> None:
        self._providers = providers
        self._other_ways = frozenset(other_ways)
        self._clock = clock

    def by(self, identity: Identity, linked: Sequence[LinkedAccount], *, aal: Aal) -> Sequence[SocialProvider]:
        """Return the providers by which an identity with these accounts confirms its session at a level."""
        mine = {account.provider for account in linked}
        own = [social for social in self._providers if social.provider.id in mine]
        sure = [social for social in own if social.provider.reauthenticates]
        if aal is Aal.AAL2:
            return [social for social in sure if social.gives_aal2]
        return sure if sure or identity.factors & self._other_ways else own

    def require(self, social: SocialProvider, identity: Identity, linked: Sequence[LinkedAccount], *, aal: Aal) -> None:
        """Raise `SubmissionRejected` where the session of this identity is not confirmed by this provider."""
        if social not in self.by(identity, linked, aal=aal):
            raise SubmissionRejected(reason("provider_confirms_nothing", _CONFIRMS_NOTHING))

    def since(self, view: MethodView) -> datetime | None:
        """Return the time that a sign-in of this flow must be later than, if it leaves now; None where any counts."""
        return self._clock.now() if _confirms(view) else None

    def since_opened(self, view: MethodView) -> datetime | None:
        """Return the same for a sign-in that an app has made itself, while the flow was open."""
        return view.opened_at if _confirms(view) else None

    def require_new(self, social: SocialProvider, authenticated: Authenticated, *, since: datetime | None) -> None:
        """Raise `SubmissionRejected` where what the provider has answered shows no sign-in since then."""
        if since is None or not social.provider.has_id_token:
            return
        shown = authenticated.auth_time if social.provider.reauthenticates else authenticated.issued_at
        if shown is None or shown < since - LEEWAY:
            raise SubmissionRejected(reason("provider_sign_in_not_new", _NOT_NEW))


def parameters(provider: Provider, *, fresh: bool) -> Mapping[str, str]:
    """Return what the request to a provider has where a new sign-in is wanted."""
    if not fresh:
        return {}
    return _NEW_SIGN_IN if provider.reauthenticates else provider.confirming


def _confirms(view: MethodView) -> bool:
    return view.refresh or view.requested_aal is Aal.AAL2


_NOT_NEW = (
    "The provider did not say that you signed in there just now. Please try again and sign in there anew, or choose "
    "another way."
)
_CONFIRMS_NOTHING = "This provider cannot show that it is you who is here now. Please choose another way."
