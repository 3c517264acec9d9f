"""The facts about every credential type that an identity may have.

A method says its own (`BUILT`), whether it is switched on or not: what is stored does not change with a switch. Types
whose method is not built yet stand in `NOT_BUILT`, because they exist in the data of Kratos and in its contract; the
entry goes when the method comes.
"""

from collections.abc import Sequence
from typing import Final

from shopkeeper.credentials.code import Code
from shopkeeper.credentials.password import Password
from shopkeeper.identity.facts import CredentialFacts, FactsByType

BUILT: Final[Sequence[CredentialFacts]] = (Code.facts, Password.facts)

NOT_BUILT: Final[Sequence[CredentialFacts]] = (
    CredentialFacts("lookup_secret", second_factor=True, removable=True, sealed=True),
    CredentialFacts("oidc", first_factor=True, removable=True, sealed=True),
    CredentialFacts("passkey", first_factor=True, removable=True),
    CredentialFacts("totp", second_factor=True, removable=True, sealed=True),
    # Kratos shows a new credential of this type with version 0, and with 1 whenever it is read later.
    CredentialFacts("webauthn", second_factor=True, removable=True, from_traits=True, read_version=1),
)

CREDENTIAL_FACTS: Final[FactsByType] = {facts.type: facts for facts in (*NOT_BUILT, *BUILT)}
