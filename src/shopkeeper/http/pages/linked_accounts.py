"""The accounts at identity providers that are linked to a customer's account, or can be: from the settings form."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shopkeeper.http.pages.forms import Part

GROUP = "oidc"
_LINK, _UNLINK = "link", "unlink"


@dataclass(frozen=True, slots=True)
class LinkedAccount:
    """A provider with the button to link an account there, or a linked account with the button to unlink it.

    Attributes:
        provider: the provider's id.
        subject: who the account belongs to at the provider, where several of one provider are linked; else empty.
    """

    provider: str
    subject: str
    label: str
    linked: bool
    button: Part

    @property
    def stays(self) -> bool:
        """Whether it cannot be unlinked, because there is no other way to sign in."""
        return self.linked and bool(self.button.attributes.get("disabled"))


def linked_accounts(parts: Iterable[Part]) -> Sequence[LinkedAccount]:
    """Return what the buttons of a form link and unlink; linked accounts come first."""
    found = [_account(part) for part in parts if part.kind == "submit" and part.name in {_LINK, _UNLINK}]
    return sorted(found, key=lambda account: not account.linked)


def _account(button: Part) -> LinkedAccount:
    provider, _, subject = str(button.value).partition(":")
    return LinkedAccount(provider, subject, button.provider or provider, button.name == _UNLINK, button)
