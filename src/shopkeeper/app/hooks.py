"""What is to be done after a sign-in, as it is configured: the list of hooks, and what each is built of."""

from collections.abc import Mapping, Sequence

from shopkeeper.app.ground import Foundation
from shopkeeper.app.people import People
from shopkeeper.settings.selfservice import LoginHook
from shopkeeper.signin.hooks import AfterSignIn, RevokeActiveSessions


def sign_in_hooks(ground: Foundation, people: People) -> Mapping[tuple[str, str], Sequence[AfterSignIn]]:
    """The hooks by kind of flow and method, for every door that signs in."""
    known: Mapping[str, AfterSignIn] = {"revoke_active_sessions": RevokeActiveSessions(people.sessions)}
    after = ground.settings.selfservice.flows.login.after
    return {("login", method): _chosen(after.hooks_of(method), known) for method in people.methods.names}


def _chosen(hooks: Sequence[LoginHook], known: Mapping[str, AfterSignIn]) -> Sequence[AfterSignIn]:
    return [known[hook.hook] for hook in hooks if hook.hook in known]
