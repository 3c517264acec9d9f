"""Scope rules: which conditions must hold, what templates become, and that no store's scopes reach another one."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shopkeeper.oauth.scope_rules import GrantedScope, ScopeRule, ScopeRules, StoreKeys, SubjectFacts, SubjectKind

CUSTOMER = SubjectFacts(SubjectKind.CUSTOMER, groups=("wholesale", "vip"), roles=("buyer",), store="tea")
STORES = {"tea": StoreKeys("tea-prod", "tea-de"), "mugs": StoreKeys("mugs-prod"), "bare": StoreKeys()}


def scopes(rules: list[ScopeRule], facts: SubjectFacts = CUSTOMER) -> list[str]:
    return [granted.scope for granted in ScopeRules(rules, stores=STORES).scopes_for(facts)]


def rule(**conditions: object) -> ScopeRule:
    return ScopeRule("rule", ["a"], **{name: frozenset(values) for name, values in conditions.items()})  # type: ignore[arg-type, call-overload]


def test_without_rules_there_are_no_scopes() -> None:
    assert ScopeRules().scopes_for(CUSTOMER) == ()


def test_an_agent_gets_only_what_rules_give_to_agents() -> None:
    """An engine would let an agent with a customer's scopes change the customer's account."""
    both = [ScopeRule("own", ["manage_my_profile:tea"]), ScopeRule("shopping", ["manage_my_orders:tea"], agents=True)]
    assert scopes(both) == ["manage_my_profile:tea", "manage_my_orders:tea"]
    assert scopes(both, replace(CUSTOMER, acted_for=True)) == ["manage_my_orders:tea"]
    assert scopes([replace(rule(groups={"vip"}), agents=True)], replace(CUSTOMER, acted_for=True)) == ["a"]


@pytest.mark.parametrize(
    ("conditions", "holds"),
    [
        ({}, True),
        ({"groups": {"wholesale"}}, True),
        ({"groups": {"other", "vip"}}, True),
        ({"groups": {"other"}}, False),
        ({"groups": {"WholeSale"}}, True),
        ({"roles": {"buyer"}}, True),
        ({"roles": {"Buyer"}}, False),
        ({"providers": {"own"}}, True),
        ({"providers": {"entra"}}, False),
        ({"stores": {"tea"}}, True),
        ({"stores": {"mugs"}}, False),
        ({"kinds": {SubjectKind.CUSTOMER, SubjectKind.EXTERNAL}}, True),
        ({"kinds": {SubjectKind.GUEST}}, False),
        ({"groups": {"vip"}, "roles": {"buyer"}, "stores": {"tea"}, "providers": {"own"}}, True),
        ({"groups": {"vip"}, "roles": {"admin"}}, False),
        ({"groups": {"vip"}, "providers": {"entra"}}, False),
        ({"roles": {"buyer"}, "kinds": {SubjectKind.SERVICE}}, False),
    ],
)
def test_all_conditions_of_a_rule_must_hold(conditions: dict[str, set[str]], holds: bool) -> None:
    assert scopes([rule(**conditions)]) == (["a"] if holds else [])


def test_several_rules_add_up_each_scope_once_with_every_rule_that_gives_it() -> None:
    rules = ScopeRules(
        [
            ScopeRule("everyone", ["view", "buy"]),
            ScopeRule("wholesale", ["bulk", "view"], groups=frozenset({"wholesale"})),
        ]
    )
    assert rules.scopes_for(CUSTOMER) == (
        GrantedScope("view", "everyone", ("wholesale",)),
        GrantedScope("buy", "everyone"),
        GrantedScope("bulk", "wholesale"),
    )


def test_templates_have_the_keys_of_the_subjects_store() -> None:
    templates = ScopeRule("all", ["view:{projectKey}", "orders:{projectKey}:{storeKey}"])
    assert scopes([templates]) == ["view:tea-prod", "orders:tea-prod:tea-de"]
    assert scopes([templates], replace(CUSTOMER, store="mugs")) == ["view:mugs-prod"]
    assert scopes([templates], replace(CUSTOMER, store="bare")) == []


@pytest.mark.parametrize("store", [None, "unknown"])
def test_a_subject_of_no_certain_store_gets_what_needs_no_store_only(store: str | None) -> None:
    rules = [ScopeRule("all", ["plain", "view:{projectKey}"]), rule(stores={"tea", "unknown"})]
    assert scopes(rules, replace(CUSTOMER, store=store)) == ["plain"]


def test_a_group_is_found_as_its_provider_writes_it() -> None:
    external = SubjectFacts(SubjectKind.EXTERNAL, groups=("/shop/Wholesale Buyers",), provider="keycloak", store="tea")
    assert scopes([rule(groups={"/shop/Wholesale Buyers"})], external) == ["a"]
    assert scopes([rule(groups={"shop-wholesale-buyers"})], external) == []


def test_unreadable_groups_are_ignored() -> None:
    odd = replace(CUSTOMER, groups=("", " ", "a\x00b", "x" * 300, "vip"))
    assert scopes([rule(groups={"vip"})], odd) == ["a"]


WORDS = st.sampled_from(["a", "b", "c"])
SETS = st.frozensets(WORDS, max_size=2)
GROUPS = st.frozensets(st.sampled_from(["ga", "gb", "gc"]), max_size=2)
FRONTS = st.frozensets(st.sampled_from(sorted(STORES)), max_size=2)
KINDS = st.frozensets(st.sampled_from(list(SubjectKind)), max_size=2)
TEMPLATES = st.lists(st.sampled_from(["x", "y", "{projectKey}", "z:{projectKey}:{storeKey}"]), min_size=1, max_size=3)
RULES = st.lists(
    st.builds(
        ScopeRule,
        st.just("rule"),
        TEMPLATES,
        groups=GROUPS,
        roles=SETS,
        providers=SETS,
        stores=FRONTS,
        kinds=KINDS,
    ),
    max_size=6,
)
FACTS = st.builds(
    SubjectFacts,
    st.sampled_from(list(SubjectKind)),
    groups=st.lists(st.sampled_from(["ga", "gb", "gc"]), max_size=3),
    roles=st.lists(WORDS, max_size=3),
    provider=WORDS,
    store=st.sampled_from([*sorted(STORES), None]),
)


@given(RULES, FACTS, st.randoms())
def test_the_scopes_depend_on_no_order(rules: list[ScopeRule], facts: SubjectFacts, order: random.Random) -> None:
    expected = set(scopes(rules, facts))
    mixed, groups = list(rules), list(facts.groups)
    order.shuffle(mixed)
    order.shuffle(groups)
    assert set(scopes(mixed, replace(facts, groups=groups))) == expected


@given(RULES, FACTS)
def test_the_index_leaves_no_rule_out_and_adds_none(rules: list[ScopeRule], facts: SubjectFacts) -> None:
    keys = STORES.get(facts.store or "", StoreKeys())
    plain = [
        scope
        for each in rules
        if (not each.groups or each.groups & set(facts.groups))
        and (not each.roles or each.roles & set(facts.roles))
        and (not each.providers or facts.provider in each.providers)
        and (not each.stores or facts.store in each.stores)
        and (not each.kinds or facts.kind in each.kinds)
        for scope in map(keys.fill, each.scopes)
        if scope is not None
    ]
    assert scopes(rules, facts) == list(dict.fromkeys(plain))


@given(RULES, FACTS)
def test_a_scope_never_has_the_keys_of_another_store(rules: list[ScopeRule], facts: SubjectFacts) -> None:
    foreign = {keys.project_key for store, keys in STORES.items() if store != facts.store and keys.project_key}
    assert not [scope for scope in scopes(rules, facts) if any(key in scope for key in foreign)]


@given(RULES, FACTS, st.sampled_from(["ga", "gb", "gc"]))
def test_one_more_group_takes_no_scope_away(rules: list[ScopeRule], facts: SubjectFacts, group: str) -> None:
    more = replace(facts, groups=(*facts.groups, group))
    assert set(scopes(rules, facts)) <= set(scopes(rules, more))


def test_a_lookup_visits_no_rule_of_other_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = ScopeRules([ScopeRule(f"r{n}", [f"s{n}"], groups=frozenset({f"group-{n}"})) for n in range(3_000)])
    visited: list[int] = []
    compiled = type(rules._index[None]["group", "group-7"][0])
    holds = compiled.holds

    def counted(self: object, *args: object) -> bool:
        visited.append(1)
        return holds(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(compiled, "holds", counted)
    assert [granted.rule for granted in rules.scopes_for(replace(CUSTOMER, groups=("group-7",)))] == ["r7"]
    assert len(visited) == 1
