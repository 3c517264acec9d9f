"""Which flows a store has: all of them where its customers have their accounts here, and few where they have them at an
identity provider.

This is the one place that decides it, for every route, page and callback. What needs no flow asks `AccountsElsewhere`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from shopkeeper.errors import FlowDisabled
from shopkeeper.flows.handler import FlowHandler

_ELSEWHERE: Final = "This store's customers have their accounts at {provider}: sign in there."


class AccountsElsewhere:
    """The stores whose customers have their accounts at an identity provider.

    Args:
        provider_of: returns the id of the provider of a store, None where accounts are this server's.
        names: what sentences call each provider, by its id.
        everywhere: whether all stores are such stores.
    """

    def __init__(
        self, provider_of: Callable[[str], str | None], *, names: Mapping[str, str], everywhere: bool = False
    ) -> None:
        self._provider_of = provider_of
        self._names = names
        self.everywhere = everywhere

    def provider_of(self, store: str) -> str | None:
        """Return the id of the provider of a store, None where accounts are this server's."""
        return self._provider_of(store)

    def require_own(self, store: str) -> None:
        """Raise `FlowDisabled` where the customers of a store have their accounts elsewhere."""
        provider = self._provider_of(store)
        if provider is not None:
            name = self._names.get(provider, provider)
            told = _ELSEWHERE.format(provider=name)
            raise FlowDisabled(told, topic="elsewhere", parameters={"provider": name})


class StoreHandlers:
    """The handlers of flows, by store.

    Args:
        own: those of stores whose customers have their accounts here.
        elsewhere: the other stores.
        of_provider: the handlers of their stores, by the provider's id. What is not there is refused.
    """

    def __init__(
        self,
        own: Sequence[FlowHandler],
        *,
        elsewhere: AccountsElsewhere,
        of_provider: Mapping[str, Sequence[FlowHandler]],
    ) -> None:
        self._own = _by_name(own)
        self._elsewhere = elsewhere
        self._of_provider = {provider: _by_name(handlers) for provider, handlers in of_provider.items()}

    def anywhere(self, name: str) -> FlowHandler:
        """Return the handler of flows of this name as most stores have it, for what is alike in all of them."""
        return self._own[name]

    def of(self, name: str, store: str) -> FlowHandler:
        """Return the handler of a store's flows of this name. Raises `FlowDisabled` where it has none."""
        provider = self._elsewhere.provider_of(store)
        if provider is None:
            return self._own[name]
        handler = self._of_provider.get(provider, {}).get(name)
        if handler is None:
            self._elsewhere.require_own(store)
            raise FlowDisabled
        return handler

    def offers(self, name: str, store: str) -> bool:
        """Return whether a store has flows of this name."""
        provider = self._elsewhere.provider_of(store)
        return name in (self._own if provider is None else self._of_provider.get(provider, {}))


def _by_name(handlers: Sequence[FlowHandler]) -> Mapping[str, FlowHandler]:
    return {handler.name: handler for handler in handlers}
