"""The buttons of providers in forms (group `oidc`): to sign in, to sign up, to link and to unlink."""

from collections.abc import Iterable, Sequence

from shopkeeper.credentials.linked_providers import OIDC, LinkedAccount
from shopkeeper.openid.provider import Provider
from shopkeeper.ui.messages import Message, message
from shopkeeper.ui.nodes import Node, input_node


def sign_in(providers: Iterable[Provider]) -> Sequence[Node]:
    return [_provider(provider, _named(1010002, provider)) for provider in providers]


def confirm(providers: Iterable[Provider]) -> Sequence[Node]:
    """Return the buttons by which the owner of an account proves it, before another way to sign in is added."""
    return [_provider(provider, _named(1010018, provider)) for provider in providers]


def sign_up(providers: Iterable[Provider]) -> Sequence[Node]:
    return [_provider(provider, _named(1040002, provider)) for provider in providers]


def go_on(provider: Provider) -> Sequence[Node]:
    """Return the button of a registration that the provider has left traits out of."""
    return [_provider(provider, message(1040003))]


def link(provider: Provider) -> Node:
    return input_node("link", "submit", group=OIDC, value=provider.id, label=message(1050002, provider=provider.label))


def unlink(account: LinkedAccount, label: str, *, one_of_several: bool, last: bool = False) -> Node:
    """Return the button that unlinks an account. One of several at the same provider is named by its subject too.

    Args:
        last: whether it is the last way to sign in, which stays; the button is disabled.
    """
    value, says = account.identifier if one_of_several else account.provider, message(1050003, provider=label)
    return input_node("unlink", "submit", group=OIDC, value=value, label=says, disabled=last)


def _provider(provider: Provider, label: Message) -> Node:
    return input_node("provider", "submit", group=OIDC, value=provider.id, label=label)


def _named(number: int, provider: Provider) -> Message:
    return message(number, provider=provider.label, provider_id=provider.id)
