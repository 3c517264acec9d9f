"""Scope rules: which scopes a subject gets for its groups, roles, provider, store and kind.

All conditions of a rule must hold; several rules add up. Rules are compiled once, so that a lookup visits only those
that name one of the subject's groups or roles, its provider or its kind.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from shopkeeper.identity.group_names import group_name_of, readable

SCOPE_TOKEN: Final = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]{1,256}", re.ASCII)
"""One scope (RFC 6749, section 3.3), with a bound on its length."""
PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
PROJECT_KEY, STORE_KEY = "projectKey", "storeKey"
PLACEHOLDERS: Final = (PROJECT_KEY, STORE_KEY)
SUBJECT_SCOPES: Final = ("customer_id:", "anonymous_id:", "external_user_id:")
"""How scopes begin that say who the subject is. No rule gives them: every subject would be the same customer."""


class SubjectKind(StrEnum):
    """What a token stands for."""

    GUEST = "guest"
    CUSTOMER = "customer"
    SERVICE = "service"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class SubjectFacts:
    """What the rules are asked with.

    Args:
        groups: names of groups, of an identity or as a provider says them; unreadable ones are ignored.
        roles: names of roles, compared as they are.
        provider: `own`, or the id of the provider that proved the subject.
        store: the id of the front that the token is for; None where it is for no certain one. Then neither rules for
            stores nor scopes with the keys of a store apply.
        acted_for: whether an agent acts as the subject (impersonation).
    """

    kind: SubjectKind
    groups: Sequence[str] = ()
    roles: Sequence[str] = ()
    provider: str = "own"
    store: str | None = None
    acted_for: bool = False


@dataclass(frozen=True, slots=True)
class ScopeRule:
    """One rule. An empty condition holds always; of several values, one must match.

    Args:
        name: what explanations call the rule.
        stores: ids of fronts.
        scopes: scopes, with `{projectKey}` and `{storeKey}` in place of the keys of the subject's store.
        agents: whether agents who act as the subject get these scopes, too. An engine does not know of an agent, and
            would let one with the customer's scopes change the customer's account.
    """

    name: str
    scopes: Sequence[str]
    groups: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    stores: frozenset[str] = frozenset()
    kinds: frozenset[SubjectKind] = frozenset()
    agents: bool = False


@dataclass(frozen=True, slots=True)
class StoreKeys:
    """What the templates of a front are filled with; None where the settings have no value."""

    project_key: str | None = None
    store_key: str | None = None

    def fill(self, template: str) -> str | None:
        """Return the scope of a template, or None where a value is missing.

        >>> StoreKeys("tea", "de").fill("manage_my_orders:{projectKey}:{storeKey}")
        'manage_my_orders:tea:de'
        """
        values = {PROJECT_KEY: self.project_key, STORE_KEY: self.store_key}
        if any(values.get(name) is None for name in PLACEHOLDER.findall(template)):
            return None
        return PLACEHOLDER.sub(lambda found: values[found[1]] or "", template)


@dataclass(frozen=True, slots=True)
class GrantedScope:
    """A scope that a subject gets, the first rule that gives it, and the others that give it too."""

    scope: str
    rule: str
    also: tuple[str, ...] = ()


_Key = tuple[str, str]
_ANY: Final[_Key] = ("", "")


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A rule with its place in the table, and its scopes as they are in each front (None: in no certain one)."""

    position: int
    rule: ScopeRule
    scopes: Mapping[str | None, Sequence[str]] = field(default_factory=dict)

    def holds(self, facts: SubjectFacts, groups: frozenset[str], roles: frozenset[str]) -> bool:
        rule = self.rule
        return (
            (rule.agents or not facts.acted_for)
            and (not rule.groups or not rule.groups.isdisjoint(groups))
            and (not rule.roles or not rule.roles.isdisjoint(roles))
            and (not rule.providers or facts.provider in rule.providers)
            and (not rule.kinds or facts.kind in rule.kinds)
        )


class ScopeRules:
    """The compiled table of rules.

    >>> rules = ScopeRules(
    ...     [ScopeRule("wholesale", ["manage_my_orders:{projectKey}"], groups=frozenset({"Wholesale"}))],
    ...     stores={"tea": StoreKeys(project_key="tea-prod")},
    ... )
    >>> rules.scopes_for(SubjectFacts(SubjectKind.CUSTOMER, groups=("wholesale",), store="tea"))
    (GrantedScope(scope='manage_my_orders:tea-prod', rule='wholesale', also=()),)

    Args:
        rules: in the order of the table, which is that of the scopes in an answer.
        stores: the keys of every front, by its id. A front that is not among them has no scopes with keys.
    """

    def __init__(self, rules: Sequence[ScopeRule] = (), *, stores: Mapping[str, StoreKeys] | None = None) -> None:
        self._index: dict[str | None, dict[_Key, list[_Compiled]]] = defaultdict(lambda: defaultdict(list))
        keys: dict[str | None, StoreKeys] = {None: StoreKeys()}
        keys.update(stores or {})
        for position, rule in enumerate(rules):
            normal = _with_normal_groups(rule)
            fronts: Iterable[str | None] = [store for store in keys if not rule.stores or store in rule.stores]
            compiled = _Compiled(position, normal, {front: _filled(rule, keys[front]) for front in fronts})
            for front in fronts:
                for key in _keys_of(normal):
                    self._index[front][key].append(compiled)

    def scopes_for(self, facts: SubjectFacts) -> tuple[GrantedScope, ...]:
        """Return the scopes of a subject, each once, in the order of the table, with the rules that give them."""
        index = self._index.get(facts.store)
        if index is None:
            index = self._index.get(None)
        if not index:
            return ()
        groups = frozenset(group_name_of(group) for group in facts.groups if readable(group))
        roles = frozenset(facts.roles)
        asked: list[_Key] = [_ANY, ("provider", facts.provider), ("kind", facts.kind)]
        asked += [("group", group) for group in groups]
        asked += [("role", role) for role in roles]
        visited = {rule.position: rule for key in asked for rule in index.get(key, ())}
        holding = [visited[place] for place in sorted(visited) if visited[place].holds(facts, groups, roles)]
        return _granted(holding, facts.store)


def _with_normal_groups(rule: ScopeRule) -> ScopeRule:
    groups = frozenset(group_name_of(group) for group in rule.groups)
    return replace(rule, groups=groups)


def _keys_of(rule: ScopeRule) -> Sequence[_Key]:
    """Return the keys that lead to a rule: the values of its most selective condition."""
    for name, values in (
        ("group", rule.groups),
        ("role", rule.roles),
        ("provider", rule.providers),
        ("kind", frozenset(rule.kinds)),
    ):
        if values:
            return [(name, value) for value in sorted(values)]
    return [_ANY]


def _filled(rule: ScopeRule, keys: StoreKeys) -> Sequence[str]:
    return tuple(scope for template in rule.scopes if (scope := keys.fill(template)) is not None)


def _granted(rules: Sequence[_Compiled], store: str | None) -> tuple[GrantedScope, ...]:
    givers: dict[str, list[str]] = {}
    for compiled in rules:
        for scope in compiled.scopes.get(store, compiled.scopes.get(None, ())):
            named = givers.setdefault(scope, [])
            if compiled.rule.name not in named:
                named.append(compiled.rule.name)
    return tuple(GrantedScope(scope, rule, tuple(also)) for scope, (rule, *also) in givers.items())
