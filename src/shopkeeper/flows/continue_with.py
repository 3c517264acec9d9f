"""What a client does next after a flow (`continue_with`, contract page section 2.7), as values.

The routes add the addresses of pages.
"""

from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID


@dataclass(frozen=True, slots=True)
class ShowVerification:
    """Show a verification flow that was opened for an address of the identity."""

    flow_id: UUID
    address: str


@dataclass(frozen=True, slots=True)
class ShowSettings:
    """Show the settings flow of an account that was recovered."""

    flow_id: UUID


@dataclass(frozen=True, slots=True)
class ShowRecovery:
    """Show the recovery flow that takes the place of one that cannot continue."""

    flow_id: UUID


ContinueWith: TypeAlias = ShowVerification | ShowSettings | ShowRecovery
