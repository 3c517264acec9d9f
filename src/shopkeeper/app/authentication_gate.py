"""Build the one gate of identities (`sessions/authentication_gate.py`) of the hooks that the settings name."""

from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.credentials.password import PASSWORD
from shopkeeper.sessions.authentication_gate import AuthenticationGate


def build_gate(infrastructure: Infrastructure) -> AuthenticationGate:
    """Return the one gate of identities, with the methods that ask for a verified address."""
    settings = infrastructure.settings
    after, legacy = settings.selfservice.flows.login.after, settings.feature_flags.legacy_require_verified_login_error
    asking = {
        method
        for method in ("password", "code", "oidc")
        if any(hook.hook == "require_verified_address" for hook in after.hooks_of(method))
        and (method == PASSWORD or not legacy)  # the hook counts for passwords only then
    }
    return AuthenticationGate(clock=infrastructure.clock, verified_for=asking)
