"""What a caller of `build` adds to the lists of this package: methods, flows and hooks that are not built in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.flows import FlowBinding
from shopkeeper.app.hooks import no_hooks
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.credentials.method import Method
from shopkeeper.identity.facts import CredentialFacts
from shopkeeper.identity.service import Identities
from shopkeeper.signin.completion import Hooks

BuildMethods = Callable[[Infrastructure, Identities], Sequence[Method]]
BuildFlows = Callable[[Infrastructure, Accounts], Sequence[FlowBinding]]
BuildHooks = Callable[[Infrastructure, Accounts], Hooks]


def _no_methods(infrastructure: Infrastructure, identities: Identities) -> Sequence[Method]:
    return ()


def _no_flows(infrastructure: Infrastructure, accounts: Accounts) -> Sequence[FlowBinding]:
    return ()


@dataclass(frozen=True, slots=True)
class Extensions:
    """Further entries of the lists, each after the built-in ones.

    >>> build(settings, extensions=Extensions(facts=[Badge.facts], methods=lambda _, identities: [Badge(identities)]))
    ... # doctest: +SKIP

    Args:
        facts: the facts about the credential types of `methods`; needed before the methods can be built.
        methods: builds the methods, given the infrastructure and the identities.
        flows: builds the flows.
        hooks: builds the hooks, by flow and method.
    """

    facts: Sequence[CredentialFacts] = ()
    methods: BuildMethods = _no_methods
    flows: BuildFlows = _no_flows
    hooks: BuildHooks = no_hooks
