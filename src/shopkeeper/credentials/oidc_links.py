"""Links between identities and accounts at providers: the buttons of the settings form, and what they change.

What changes is computed under the lock of the identity, because its credential holds all linked accounts.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from shopkeeper.credentials import oidc_nodes as nodes
from shopkeeper.credentials.linked_providers import (
    MOST_LINKED,
    OIDC,
    LinkedAccount,
    accounts_of,
    linked_accounts,
    linking,
    linking_also,
)
from shopkeeper.credentials.social_provider import SocialProviders
from shopkeeper.credentials.steps import CredentialChange, Form, NewCredential, SubmissionRejected, UpstreamSession
from shopkeeper.identity.facts import CredentialFacts
from shopkeeper.identity.sealing import holds_something
from shopkeeper.identity.values import Identity
from shopkeeper.openid.provider import Provider
from shopkeeper.ui.messages import LINKED_TO_ANOTHER, message, reason


class OidcLinks:
    """Links and unlinks.

    Args:
        other_ways: the facts of the other methods that are switched on and can sign in alone.
    """

    def __init__(self, providers: SocialProviders, *, other_ways: Sequence[CredentialFacts]) -> None:
        self._providers = providers
        self._other_ways = other_ways

    def form(self, identity: Identity, *, links: bool) -> Form:
        """Return the buttons: of providers that can be linked (`links`), then of linked accounts. Accounts of providers
        that are switched off can be unlinked, too. The button of the last way to sign in is disabled."""
        linked = linked_accounts(identity.credentials.get(OIDC))
        at = Counter(account.provider for account in linked)
        rank = {social.provider.id: position for position, social in enumerate(self._providers)}
        in_order = sorted(linked, key=lambda account: rank.get(account.provider, len(rank)))
        new = (social.provider for social in self._providers if social.provider.id not in at)
        to_link = [nodes.link(provider) for provider in new] if links else []
        to_unlink = [
            nodes.unlink(
                account,
                self._label(account),
                one_of_several=at[account.provider] > 1,
                last=not self._can_sign_in(identity, [each for each in linked if each is not account]),
            )
            for account in in_order
        ]
        return Form((*to_link, *to_unlink))

    def link(self, account: LinkedAccount, *, upstream: UpstreamSession) -> CredentialChange:
        """Return the change that links an account. It changes no credential where the identity has it already.

        Args:
            upstream: the provider's session that the account was authenticated in.
        """

        def revise(identity: Identity) -> Mapping[str, NewCredential | None]:
            if account in linked_accounts(identity.credentials.get(OIDC)):
                return {}
            return {OIDC: self.linked_to(identity, linking([account]))}

        return CredentialChange(
            revise=revise, taken=message(LINKED_TO_ANOTHER), linked=self._label(account), upstream=upstream
        )

    def linked_to(self, identity: Identity, enrolled: NewCredential) -> NewCredential:
        """Return the credential of an identity with the accounts of a new one. Raises `SubmissionRejected`."""
        known = identity.credentials.get(OIDC)
        if known is not None and holds_something(known.config) and not known.config:
            raise SubmissionRejected(reason("links_unreadable", _UNREADABLE))
        whole = linking_also(known, enrolled)
        if len(whole.identifiers) > MOST_LINKED:
            raise SubmissionRejected(reason("too_many_links", _TOO_MANY, limit=MOST_LINKED))
        return whole

    def confirm_form(self, owner: Identity | None, enrolled: NewCredential) -> Form:
        """Return the buttons by which the owner of an account can prove it. For an unknown owner, these are the
        providers of every other issuer than that of the account to be linked."""
        if owner is None:
            came_by = accounts_of(enrolled)
            others = (social.provider for social in self._providers if not _are_at(came_by, social.provider))
            return Form(nodes.sign_in(others), identifier="none", leads=True)
        return Form(nodes.confirm(self._linked(owner)), identifier="none", leads=True)

    def sign_in_form(self, owner: Identity) -> Form:
        """Return the buttons of the providers that are linked to an account."""
        return Form(nodes.sign_in(self._linked(owner)), identifier="none", leads=True)

    def unlink(self, identity: Identity, named: str) -> CredentialChange:
        """Return the change that unlinks what a button names: the accounts at a provider, or one of several.

        Raises `SubmissionRejected` where nothing is linked under this name, and for the last way to sign in.
        """
        self._left(identity, named)

        def revise(now: Identity) -> Mapping[str, NewCredential | None]:
            left = self._left(now, named)
            return {OIDC: linking(left) if left else None}

        return CredentialChange(revise=revise)

    def _linked(self, owner: Identity) -> Sequence[Provider]:
        at = {account.provider for account in linked_accounts(owner.credentials.get(OIDC))}
        return [social.provider for social in self._providers if social.provider.id in at]

    def _left(self, identity: Identity, named: str) -> Sequence[LinkedAccount]:
        linked = linked_accounts(identity.credentials.get(OIDC))
        left = [each for each in linked if named not in {each.provider, each.identifier}]
        if len(left) == len(linked):
            raise SubmissionRejected(reason("not_linked", _NOT_LINKED))
        if not self._can_sign_in(identity, left):
            raise SubmissionRejected(reason("last_way_in", _LAST_WAY_IN))
        return left

    def _can_sign_in(self, identity: Identity, left: Sequence[LinkedAccount]) -> bool:
        """Return whether an identity has a way to sign in with these accounts alone, or another one."""
        if any(self._providers.get(each.provider) for each in left):
            return True
        known = ((facts, identity.credentials.get(facts.type)) for facts in self._other_ways)
        return any(credential is not None and facts.usable(credential) for facts, credential in known)

    def _label(self, account: LinkedAccount) -> str:
        configured = self._providers.get(account.provider)
        return configured.provider.label if configured is not None else account.provider


def _are_at(accounts: Sequence[LinkedAccount], provider: Provider) -> bool:
    """Return whether one of the accounts is at a provider."""
    return any(
        account.provider == provider.id or (account.issuer is not None and provider.issues(account.issuer))
        for account in accounts
    )


_NOT_LINKED = "This account has no such link. Please use one of the buttons of the form."
_LAST_WAY_IN = "This is the last way to sign in to this account. Please set up another one first, such as a password."
_TOO_MANY = "An account can have {limit} links at most. Please remove one first."
_UNREADABLE = (
    "The links of this account cannot be read, so none can be added. Please tell the shop, which has changed its keys."
)
