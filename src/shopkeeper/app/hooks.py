"""The configured hooks: the list of those there are, and what each is built of."""

from collections.abc import Mapping, Sequence

from shopkeeper.app.ground import Foundation
from shopkeeper.app.people import People
from shopkeeper.settings.selfservice import LoginHook
from shopkeeper.signin.completion import Hooks
from shopkeeper.signin.hooks import RevokeActiveSessions, SignInHook


def build_hooks(ground: Foundation, people: People) -> Hooks:
    """The hooks by flow and method, whichever route signs in. Blocking hooks come with web hooks."""
    known: Mapping[str, SignInHook] = {"revoke_active_sessions": RevokeActiveSessions(people.sessions)}
    after = ground.settings.selfservice.flows.login.after
    return Hooks(
        blocking={},
        after={("login", method): _chosen(after.hooks_of(method), known) for method in people.methods.names},
    )


def _chosen(hooks: Sequence[LoginHook], known: Mapping[str, SignInHook]) -> Sequence[SignInHook]:
    return [known[hook.hook] for hook in hooks if hook.hook in known]
