"""The stored form of accounts at identity providers: one credential per type, with one entry for each account.

Its identifiers are `provider:subject`, as in Kratos (contract page section 4.4).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from shopkeeper.identity.values import Credential


def without_provider(credential: Credential, identifier: str) -> Credential:
    """Return a credential without the account of an identifier; the config is empty when none is left."""
    left = [entry for entry in credential.config.get("providers", ()) if _identifier(entry) != identifier]
    config = {**credential.config, "providers": left} if left else {}
    return replace(credential, config=config, identifiers=tuple(i for i in credential.identifiers if i != identifier))


def _identifier(entry: Any) -> str | None:
    return f"{entry.get('provider')}:{entry.get('subject')}" if isinstance(entry, Mapping) else None
