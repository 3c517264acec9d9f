"""The hooks that a configuration may name, and what each is built of."""

from collections.abc import Callable, Mapping, Sequence

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.app.verification import build_verification_opener
from shopkeeper.credentials.linked_providers import OIDC
from shopkeeper.credentials.password import PASSWORD
from shopkeeper.credentials.profile import PROFILE
from shopkeeper.flows.required_verification import RequiredVerification
from shopkeeper.settings.selfservice import Hook
from shopkeeper.signin.completion import Hooks
from shopkeeper.signin.hooks import RequireVerifiedAddress, RevokeActiveSessions, SignInHook


def no_hooks(infrastructure: Infrastructure, accounts: Accounts) -> Hooks:
    """Return no hooks."""
    return Hooks(blocking={}, after={})


def build_hooks(
    infrastructure: Infrastructure, accounts: Accounts, further: Callable[[Infrastructure, Accounts], Hooks] = no_hooks
) -> Hooks:
    """Return the hooks by flow and method, for every route that signs in; those of `Extensions` come last. Blocking
    hooks come with web hooks."""
    flows, names = infrastructure.settings.selfservice.flows, [*accounts.methods.names]
    if infrastructure.settings.providers and OIDC not in names:
        # By an identity provider's password, token or session, persons sign in without the method's pages.
        names.append(OIDC)
    verification = RequiredVerification(
        build_verification_opener(infrastructure, accounts),
        ui_url=flows.verification.ui_url,
    )
    known: Mapping[str, SignInHook] = {"revoke_active_sessions": RevokeActiveSessions(accounts.sessions)}
    legacy = infrastructure.settings.feature_flags.legacy_require_verified_login_error
    configured = {}
    for method in names:
        required = RequireVerifiedAddress(verification, in_form=legacy)
        asked = {} if legacy and method != PASSWORD else {"require_verified_address": required}
        configured["login", method] = _chosen(flows.login.after.hooks_of(method), {**known, **asked})
    for method in (*names, PROFILE):
        configured["settings", method] = _chosen(flows.settings.after.hooks_of(method), known)
    for method in ("code", "link"):
        configured["recovery", method] = _chosen(flows.recovery.after.hooks, known)
    added = further(infrastructure, accounts)
    keys = {*configured, *added.after}
    return Hooks(
        blocking=added.blocking,
        after={key: (*configured.get(key, ()), *added.after.get(key, ())) for key in keys},
    )


def _chosen(hooks: Sequence[Hook], known: Mapping[str, SignInHook]) -> Sequence[SignInHook]:
    return [known[hook.hook] for hook in hooks if hook.hook in known]
