"""The configured hooks: the list of those there are, and what each is built of."""

from collections.abc import Callable, Mapping, Sequence

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.settings.selfservice import LoginHook
from shopkeeper.signin.completion import Hooks
from shopkeeper.signin.hooks import RevokeActiveSessions, SignInHook


def no_hooks(infrastructure: Infrastructure, accounts: Accounts) -> Hooks:
    """No hooks."""
    return Hooks(blocking={}, after={})


def build_hooks(
    infrastructure: Infrastructure, accounts: Accounts, further: Callable[[Infrastructure, Accounts], Hooks] = no_hooks
) -> Hooks:
    """The hooks by flow and method, whichever route signs in, with those of `Extensions` behind. Blocking hooks come
    with web hooks."""
    known: Mapping[str, SignInHook] = {"revoke_active_sessions": RevokeActiveSessions(accounts.sessions)}
    after = infrastructure.settings.selfservice.flows.login.after
    configured = {("login", method): _chosen(after.hooks_of(method), known) for method in accounts.methods.names}
    added = further(infrastructure, accounts)
    keys = {*configured, *added.after}
    return Hooks(
        blocking=added.blocking,
        after={key: (*configured.get(key, ()), *added.after.get(key, ())) for key in keys},
    )


def _chosen(hooks: Sequence[LoginHook], known: Mapping[str, SignInHook]) -> Sequence[SignInHook]:
    return [known[hook.hook] for hook in hooks if hook.hook in known]
