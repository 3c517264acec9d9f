"""`tokens.scope_rules`: how a rule is written, and what is found about it at the start."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shopkeeper.app.commerce import build_stores
from shopkeeper.app.scope_rules import build_scope_rules
from shopkeeper.oauth.scope_rules import SubjectFacts, SubjectKind
from shopkeeper.settings import SettingsError, findings, load
from shopkeeper.settings.root import Settings

Write = Callable[..., Path]
STORES = """
stores:
  - {id: quince, tenants: [eu, us], project_key: quince-prod, store_key: quince-main}
  - {id: kettle}
default_store: quince
"""


def loaded(write: Write, rules: str) -> Settings:
    return load([write(STORES + "tokens: {scope_rules: " + rules + "}")], {}, dev=True, demo=False)


def given(settings: Settings, facts: SubjectFacts) -> list[str]:
    rules = build_scope_rules(settings.tokens.scope_rules, build_stores(settings))
    return [granted.scope for granted in rules.scopes_for(facts)]


def test_a_condition_is_one_value_or_a_list(write: Write) -> None:
    settings = loaded(
        write,
        "[{name: trade, when: {group: Wholesale, kind: [customer, external]}, scopes: 'my_orders:{projectKey}'}]",
    )
    facts = SubjectFacts(SubjectKind.EXTERNAL, groups=("wholesale",), store="quince@eu")
    assert given(settings, facts) == ["my_orders:quince-prod"]


def test_a_rule_for_a_store_counts_for_its_tenants_and_one_for_a_tenant_for_that_one(write: Write) -> None:
    settings = loaded(write, "[{when: {store: quince}, scopes: [all]}, {when: {store: quince@us}, scopes: [us]}]")
    for store, scopes in (("quince@eu", ["all"]), ("quince@us", ["all", "us"]), ("kettle", [])):
        assert given(settings, SubjectFacts(SubjectKind.GUEST, store=store)) == scopes


@pytest.mark.parametrize(
    "scope",
    ["", "two scopes", 'quo"te', "back\\slash", "ünicode", "view:{project_key}", "view:{projectKey", "customer_id:7"],
)
def test_what_is_no_scope_stops_the_loading(write: Write, scope: str) -> None:
    with pytest.raises(SettingsError, match=r"tokens.scope_rules\[0\].scopes\[0\]"):
        loaded(write, f"[{{scopes: [{scope!r}]}}]")


@pytest.mark.parametrize(
    ("rules", "path"),
    [
        ("[{when: {store: quinze}, scopes: [a]}]", "tokens.scope_rules[0].when.store"),
        ("[{when: {store: quince@asia}, scopes: [a]}]", "tokens.scope_rules[0].when.store"),
        ("[{when: {provider: entra}, scopes: [a]}]", "tokens.scope_rules[0].when.provider"),
        ("[{when: {kind: guest, group: vip}, scopes: [a]}]", "tokens.scope_rules[0].when.kind"),
        ("[{scopes: ['view:{projectKey}']}]", "tokens.scope_rules[0].scopes"),
        ("[{name: a, scopes: [a]}, {name: a, scopes: [b]}]", "tokens.scope_rules[1].name"),
    ],
)
def test_a_rule_that_can_not_work_is_reported(write: Write, rules: str, path: str) -> None:
    assert path in [finding.path for finding in findings(loaded(write, rules))]


def test_sound_rules_are_not_reported(write: Write) -> None:
    rules = "[{when: {store: [quince, quince@eu], provider: own, group: vip}, scopes: ['a:{projectKey}:{storeKey}']}]"
    assert not [each for each in findings(loaded(write, rules)) if each.path.startswith("tokens")]
