"""Findings about scope rules: those that can never match, and templates without a value."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from shopkeeper.oauth.scope_rules import PLACEHOLDER, PROJECT_KEY, SubjectKind
from shopkeeper.settings.identity_provider import OWN
from shopkeeper.settings.problems import Finding
from shopkeeper.settings.root import Settings
from shopkeeper.settings.scope_rules import ScopeRule
from shopkeeper.settings.shop import Store

PLACE: Final = "tokens.scope_rules"


def _unknown_stores(settings: Settings) -> Iterator[Finding]:
    known = {name for store in settings.stores for name in (store.id, *_fronts(store))}
    for path, rule in _rules(settings):
        yield from _unknown(path, "store", rule.when.store, known, "the stores")


def _unknown_providers(settings: Settings) -> Iterator[Finding]:
    known = {OWN, *(provider.id for provider in settings.providers)}
    for path, rule in _rules(settings):
        yield from _unknown(path, "provider", rule.when.provider, known, "the providers")


def _unknown(path: str, name: str, values: Sequence[str], known: set[str], where: str) -> Iterator[Finding]:
    for value in values:
        if value not in known:
            sentence = f"{path}.when.{name} names {value[:64]!r}, which is not among {where}; that never matches."
            yield Finding("warning", f"{path}.when.{name}", sentence)


def _never_together(settings: Settings) -> Iterator[Finding]:
    """Report groups and roles of subjects that have none."""
    without = {SubjectKind.GUEST, SubjectKind.SERVICE}
    for path, rule in _rules(settings):
        kinds = set(rule.when.kind)
        if kinds and kinds <= without and (rule.when.group or rule.when.role):
            sentence = f"{path}.when.kind names subjects without groups and roles; the rule never matches."
            yield Finding("warning", f"{path}.when.kind", sentence)


def _templates_without_value(settings: Settings) -> Iterator[Finding]:
    """Report stores for which a rule's template has no value: its subjects do not get the scope."""
    for path, rule in _rules(settings):
        needed = {name for template in rule.scopes for name in PLACEHOLDER.findall(template)}
        for index, store in enumerate(settings.stores):
            applies = not rule.when.store or bool({store.id, *_fronts(store)} & {*rule.when.store})
            for name in sorted(needed) if applies else ():
                key = "project_key" if name == PROJECT_KEY else "store_key"
                if getattr(store, key) is None:
                    sentence = (
                        f"{path}.scopes needs stores[{index}].{key} ({store.id}), which is not set; set it, or the"
                        " scope is left out there."
                    )
                    yield Finding("warning", f"{path}.scopes", sentence)


def _same_names(settings: Settings) -> Iterator[Finding]:
    seen: set[str] = set()
    for path, rule in _rules(settings):
        if rule.name in seen:
            yield Finding("notice", f"{path}.name", f"{path}.name is another rule's too; give each rule its own name.")
        seen |= {rule.name} if rule.name else set()


def _rules(settings: Settings) -> Iterator[tuple[str, ScopeRule]]:
    for index, rule in enumerate(settings.tokens.scope_rules):
        yield f"{PLACE}[{index}]", rule


def _fronts(store: Store) -> Sequence[str]:
    return [f"{store.id}@{tenant}" for tenant in store.tenants]


SCOPE_RULE_CHECKS: Final[Sequence[Callable[[Settings], Iterator[Finding]]]] = (
    _unknown_stores,
    _unknown_providers,
    _never_together,
    _templates_without_value,
    _same_names,
)
