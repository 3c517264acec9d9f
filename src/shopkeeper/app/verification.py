"""Address verification: its flow's handler, and what opens such flows from other flows and from hooks."""

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.flows.mailed import MailedSettings, Verification
from shopkeeper.flows.registrants import Registrants
from shopkeeper.flows.return_to import AfterFlow
from shopkeeper.flows.verification_opener import VerificationOpener
from shopkeeper.notify.recipient_budget import RecipientBudget
from shopkeeper.settings.selfservice import RecoveryFlow, VerificationFlow


def build_verification(infrastructure: Infrastructure, accounts: Accounts) -> Verification:
    flow = infrastructure.settings.selfservice.flows.verification
    return Verification(settings=mailed_settings(flow), methods=accounts.methods.for_verification)


def build_verification_opener(infrastructure: Infrastructure, accounts: Accounts) -> VerificationOpener:
    return VerificationOpener(
        build_verification(infrastructure, accounts),
        {method.name: method for method in accounts.methods.by_mail},
        budget=build_recipient_budget(accounts),
        registrants=build_registrants(infrastructure, accounts),
        clock=infrastructure.clock,
    )


def build_recipient_budget(accounts: Accounts) -> RecipientBudget:
    throttles = accounts.throttles
    return RecipientBudget(
        per_client=throttles["code"], per_recipient=throttles["code_recipient"], per_pair=throttles["code_pair"]
    )


def build_registrants(infrastructure: Infrastructure, accounts: Accounts) -> Registrants:
    return Registrants(infrastructure.cache, budget=accounts.throttles["registrant"])


def mailed_settings(flow: RecoveryFlow | VerificationFlow) -> MailedSettings:
    """Return the settings of a flow by mail."""
    return MailedSettings(
        lifespan=flow.lifespan,
        after=AfterFlow(default=flow.after.default_browser_return_url),
        enabled=flow.enabled,
        use=flow.use,
    )
