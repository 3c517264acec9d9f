"""Compile the scope rules of the settings for the fronts of all stores."""

from collections.abc import Iterable, Sequence

from shopkeeper.commerce.stores import Store, Stores
from shopkeeper.oauth.scope_rules import ScopeRule, ScopeRules, StoreKeys
from shopkeeper.settings.scope_rules import ScopeRule as Configured
from shopkeeper.settings.scope_rules import names_of


def build_scope_rules(configured: Sequence[Configured], stores: Stores) -> ScopeRules:
    """Return the compiled rules. A rule for a store counts for all its tenants, one for `store@tenant` for that one."""
    fronts = stores.fronts
    rules = [
        ScopeRule(
            name,
            rule.scopes,
            groups=frozenset(rule.when.group),
            roles=frozenset(rule.when.role),
            providers=frozenset(rule.when.provider),
            stores=_fronts_of(rule.when.store, fronts),
            kinds=frozenset(rule.when.kind),
            agents=rule.agents,
        )
        for name, rule in zip(names_of(configured), configured, strict=True)
    ]
    return ScopeRules(rules, stores={front.id: StoreKeys(front.project_key, front.store_key) for front in fronts})


def _fronts_of(named: Sequence[str], fronts: Iterable[Store]) -> frozenset[str]:
    """Return the fronts that a condition names. Unknown names stay, so that a rule for them never matches."""
    chosen = {front.id for front in fronts if {front.id, front.id.partition("@")[0]} & {*named}}
    return frozenset(chosen | {*named})
