"""What a mail may say of the account that it is about."""

from collections.abc import Mapping
from typing import Any

from shopkeeper.identity.names import names_of
from shopkeeper.identity.values import Identity


def mail_values(identity: Identity | None) -> Mapping[str, Any]:
    """Return the values for a mail's template: whom it greets, and the account as far as its owner may see it.

    None stands for an unknown account.
    """
    if identity is None:
        return {"first_name": None, "identity": None}
    shown = {
        "id": str(identity.id),
        "schema_id": identity.schema_id,
        "state": str(identity.state),
        "traits": identity.traits,
        "metadata_public": identity.metadata_public,
    }
    return {"first_name": names_of(identity).first, "identity": shown}
