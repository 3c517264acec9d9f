"""Build impersonation: what looks an agent's session up, and what starts one."""

from collections.abc import Collection
from uuid import UUID

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.crypto import KeyRing
from shopkeeper.identity.values import Identity
from shopkeeper.sessions.impersonation import PURPOSE, ImpersonationRules, Impersonations
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
            agents=frozenset[UUID](chosen.agents),
            agent_groups=frozenset(chosen.agent_groups),
            protected_groups=frozenset(chosen.protected_groups),
            named_agents=chosen.named_agents,
        ),
        assurance=accounts.assurance,
        groups_of=_groups_of,
        budget=accounts.throttles["impersonation"],
        keys=KeyRing(settings.secrets.for_sealing(), purpose=PURPOSE),
        clock=infrastructure.clock,
        audit=infrastructure.audit,
        tally=infrastructure.tally,
    )


async def _groups_of(unit: Unit, identity: Identity) -> Collection[str]:
    return ()
