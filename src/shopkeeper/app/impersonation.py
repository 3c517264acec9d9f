"""Build impersonation: what looks an agent's session up, and what starts one."""

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.commerce import build_stores
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.crypto import KeyRing
from shopkeeper.identity.group_names import group_name_of
from shopkeeper.identity.mail_values import mail_values
from shopkeeper.identity.values import Identity
from shopkeeper.notify.account_notices import AccountNotices
from shopkeeper.sessions.impersonation import PURPOSE, Announced, ImpersonationRules, Impersonations
from shopkeeper.sessions.impersonation_store import Impersonation
from shopkeeper.storage.database import Unit


def build_impersonations(infrastructure: Infrastructure, accounts: Accounts) -> Impersonations | None:
    """Build what starts and ends impersonations; None where they are switched off."""
    if accounts.acting is None:
        return None
    settings = infrastructure.settings
    chosen = settings.impersonation
    return Impersonations(
        database=infrastructure.database,
        identities=accounts.identities,
        sessions=accounts.sessions,
        sealed=accounts.sealed,
        acting=accounts.acting,
        rules=ImpersonationRules(
            lifespan=chosen.lifespan,
            agents=accounts.acting.agents,
            protected_groups=frozenset(map(group_name_of, chosen.protected_groups)),
        ),
        assurance=accounts.assurance,
        budget=accounts.throttles["impersonation"],
        keys=KeyRing(settings.secrets.for_sealing(), purpose=PURPOSE),
        clock=infrastructure.clock,
        audit=infrastructure.audit,
        tally=infrastructure.tally,
        announced=_telling(infrastructure, accounts) if chosen.notify_customer else None,
    )


def _telling(infrastructure: Infrastructure, accounts: Accounts) -> Announced:
    """Return what mails a customer that an agent begins to act for them, in the language that is known of them."""
    notices = AccountNotices(accounts.courier, base_url=infrastructure.base_url)
    stores = build_stores(infrastructure.settings)

    async def tell(unit: Unit, begun: Impersonation, customer: Identity) -> None:
        await notices.support_access(
            unit,
            to=customer.email,
            account=mail_values(customer),
            ends_at=begun.expires_at,
            locale=customer.locale or stores.require(begun.store).locale,
        )

    return tell
