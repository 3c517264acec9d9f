"""The identity providers that customers may sign in with, as pages show them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shopkeeper.http.pages.provider_marks import Mark, mark_of


@dataclass(frozen=True, slots=True)
class ShownProvider:
    """A configured provider: its preset, which chooses its mark, and what buttons call it."""

    preset: str
    label: str


@dataclass(frozen=True, slots=True)
class ShownProviders:
    """The configured providers by their ids."""

    by_id: Mapping[str, ShownProvider] = field(default_factory=dict)

    def mark(self, provider_id: str, label: str) -> Mark:
        """Return the mark of a provider. One that is not configured any more has that of its id."""
        known = self.by_id.get(provider_id)
        return mark_of(known.preset if known else provider_id, label)

    def label(self, provider_id: str) -> str:
        """Return what a provider is called. One that is not configured any more is called by its id."""
        known = self.by_id.get(provider_id)
        return known.label if known else provider_id
