"""Scope rules: which scopes a subject's groups, roles, provider, store and kind give (`tokens.scope_rules`)."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field

from shopkeeper.identity.group_names import readable
from shopkeeper.oauth.scope_rules import PLACEHOLDER, PLACEHOLDERS, SCOPE_TOKEN, SUBJECT_SCOPES, SubjectKind
from shopkeeper.settings.section import Section

MOST_RULES: Final = 5_000
MOST_VALUES: Final = 100
"""Values of one condition, and scopes of one rule."""


def _as_list(value: Any) -> Any:
    """Return a single value as a list of one."""
    return (value,) if isinstance(value, str) else value


def _called(text: str) -> str:
    if not readable(text):
        raise ValueError("must be a name of at most 256 characters, without control characters")
    return text


def _scope(template: str) -> str:
    """Refuse what is no scope (RFC 6749, section 3.3), and scopes that say who the subject is."""
    unknown = [name for name in PLACEHOLDER.findall(template) if name not in PLACEHOLDERS]
    if unknown:
        raise ValueError("has an unknown placeholder; there are {projectKey} and {storeKey}")
    plain = PLACEHOLDER.sub("x", template)
    if "{" in plain or "}" in plain:
        raise ValueError("has a brace without its other one; placeholders are {projectKey} and {storeKey}")
    if not SCOPE_TOKEN.fullmatch(plain):
        raise ValueError("must be one scope: printable ASCII without spaces, quotes and backslashes (RFC 6749)")
    if template.startswith(SUBJECT_SCOPES):
        raise ValueError("says who the subject is, which no rule can; introspection adds it")
    return template


ScopeTemplate = Annotated[str, AfterValidator(_scope)]
Called = Annotated[str, AfterValidator(_called)]


class ScopeConditions(Section):
    """The conditions of a scope rule. All that are set must hold; of several values, one must match."""

    group: Annotated[tuple[Called, ...], BeforeValidator(_as_list)] = Field(
        default=(), max_length=MOST_VALUES, description="Groups: of the identity, or as its provider names them"
    )
    role: Annotated[tuple[Called, ...], BeforeValidator(_as_list)] = Field(
        default=(), max_length=MOST_VALUES, description="Roles, as the provider names them"
    )
    provider: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = Field(
        default=(), max_length=MOST_VALUES, description="`own`, or the id of a provider that proved the subject"
    )
    store: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = Field(
        default=(), max_length=MOST_VALUES, description="Stores; `store@tenant` names one tenant"
    )
    kind: Annotated[tuple[SubjectKind, ...], BeforeValidator(_as_list)] = Field(
        default=(), description="`guest`, `customer`, `service` or `external`"
    )


class ScopeRule(Section):
    """One scope rule."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")] | None = Field(
        default=None, description="What explanations call the rule; its place in the list when unset"
    )
    when: ScopeConditions = Field(default=ScopeConditions(), description="When it applies; always when empty")
    scopes: Annotated[tuple[ScopeTemplate, ...], BeforeValidator(_as_list)] = Field(
        min_length=1,
        max_length=MOST_VALUES,
        description="The scopes that it gives; `{projectKey}` and `{storeKey}` are those of the subject's store",
    )
    agents: bool = Field(
        default=False,
        description="Whether [agents](../howto/impersonation.md) who act as the subject get these scopes, too. List "
        "only what shops, such as `manage_my_orders`: with `manage_my_profile` an agent changes the account",
    )


def names_of(rules: Sequence[ScopeRule]) -> Iterator[str]:
    """Yield what explanations call each rule.

    >>> list(names_of([ScopeRule(name="all", scopes=("a",)), ScopeRule(scopes=("b",))]))
    ['all', 'tokens.scope_rules[1]']
    """
    for index, rule in enumerate(rules):
        yield rule.name or f"tokens.scope_rules[{index}]"
