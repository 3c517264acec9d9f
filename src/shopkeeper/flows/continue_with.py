"""What a client does next after a flow (`continue_with`, contract page section 2.7), as values.

The routes add the addresses of pages; a native app gets none.
"""

from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID


@dataclass(frozen=True, slots=True)
class ShowVerification:
    """Show a verification flow that was opened for an address of the identity."""

    flow_id: UUID
    address: str


ContinueWith: TypeAlias = ShowVerification
