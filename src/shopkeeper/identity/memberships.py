"""The groups of an identity, and who gave each: an administrator, or a provider whose account is linked.

What one source gives never replaces what another one gave. These are functions without I/O.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from shopkeeper.errors import InvalidInput
from shopkeeper.identity.group_names import LONGEST_GROUP_TEXT, group_name_of, readable

ADMIN: Final = "admin"
"""The source of memberships that the admin API gives."""
MOST_GROUPS: Final = 200
"""Groups of an identity. Entra writes as many into a token, and no more."""
_OF_PROVIDERS: Final = "provider:"


@dataclass(frozen=True, slots=True, order=True)
class Membership:
    """An identity is in a group, because a source says so; several sources may say it of one group."""

    group: str
    source: str
    group_id: UUID
    created_at: datetime


@dataclass(frozen=True, slots=True)
class GivenGroups:
    """The groups that a source gives an identity: all of them, so that those that it gave before and that are not among
    them end.

    Args:
        names: what the groups are called (`group_name_of` makes names of them).
    """

    names: Sequence[str]
    source: str = ADMIN

    @property
    def decides(self) -> bool:
        """Whether these are to be all groups of the identity, whatever source gave them: an administrator's are."""
        return self.source == ADMIN


def provider_source(provider_id: str) -> str:
    """Return the source of what a provider gives.

    >>> provider_source("entra")
    'provider:entra'
    """
    return f"{_OF_PROVIDERS}{provider_id}"


def group_names(given: GivenGroups) -> Sequence[str]:
    """Return the names of the groups, each once, in order. Raises `InvalidInput` for too many or unreadable ones."""
    for text in given.names:
        if not readable(text):
            raise InvalidInput(f"A group has a name of 1 to {LONGEST_GROUP_TEXT} readable characters.")
    names = sorted({group_name_of(text) for text in given.names})
    if len(names) > MOST_GROUPS:
        raise InvalidInput(f"An account is in {MOST_GROUPS} groups at most.")
    return names


def joined(
    before: Sequence[Membership],
    names: Collection[str],
    *,
    given: GivenGroups,
    ids: Mapping[str, UUID],
    now: datetime,
) -> tuple[Membership, ...]:
    """Return the memberships after a source has given these groups.

    An administrator who repeats a group that a provider gave does not make it their own: it still ends when the
    provider takes it away. So an identity can be read, changed and put back.

    Args:
        ids: the ids of the groups by name; a name without one is left out.
    """
    wanted = set(names)
    if given.decides:
        kept = [each for each in before if each.group in wanted]
        known = {each.group for each in kept}
    else:
        kept = [each for each in before if each.source != given.source or each.group in wanted]
        known = {each.group for each in kept if each.source == given.source}
    added = [Membership(name, given.source, ids[name], now) for name in wanted - known if name in ids]
    return tuple(sorted([*kept, *added]))


def still_given(memberships: Iterable[Membership], sources: Collection[str]) -> tuple[Membership, ...]:
    """Return the memberships without those of providers that no linked account stands for any more."""
    return tuple(each for each in memberships if not each.source.startswith(_OF_PROVIDERS) or each.source in sources)
