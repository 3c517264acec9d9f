"""The facts about every credential type that an identity may have.

A method states its own (`BUILT`), whether it is enabled or not, because disabling a method does not change what is
stored. Types whose method is not built yet are in `NOT_BUILT`, because they exist in Kratos' data and contract; remove
the entry when the method is added.
"""

from collections.abc import Sequence
from typing import Final

from shopkeeper.credentials.code import Code
from shopkeeper.credentials.oidc import Oidc
from shopkeeper.credentials.password import Password
from shopkeeper.identity.facts import CredentialFacts, FactsByType

BUILT: Final[Sequence[CredentialFacts]] = (Code.facts, Oidc.facts, Password.facts)

NOT_BUILT: Final[Sequence[CredentialFacts]] = (
    CredentialFacts("lookup_secret", second_factor=True, removable=True, sealed=True),
    CredentialFacts("passkey", first_factor=True, removable=True),
    CredentialFacts("totp", second_factor=True, removable=True, sealed=True),
    # Kratos shows a new credential of this type with version 0, and with 1 whenever it is read later.
    CredentialFacts("webauthn", second_factor=True, removable=True, from_traits=True, read_version=1),
)

CREDENTIAL_FACTS: Final[FactsByType] = {facts.type: facts for facts in (*NOT_BUILT, *BUILT)}
