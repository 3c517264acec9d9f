"""Signing in and up with a password.

One place for every door: the self-service flows come through `prove`, all others through `authenticate`, and both spend
the same budget of failures. An account that does not exist, or has no password, costs as much as one that does and gets
the same answer. All reading comes first; no transaction is open while a password is hashed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from shopkeeper.credentials.guessing import Guess, Guesses
from shopkeeper.credentials.hashes import Hasher
from shopkeeper.credentials.method import Attempt, Draft, FieldError, LoginView, NewCredential, Proof, Rejected
from shopkeeper.credentials.policy import PasswordPolicy
from shopkeeper.errors import Busy, InvalidCredentials
from shopkeeper.identity.facts import CredentialFacts
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Aal, Client, Identity
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import Node, input_node, submit_node

PASSWORD: Final = "password"  # noqa: S105 - the name of the method
HASHED: Final = "hashed_password"


class Password:
    """The password method.

    Args:
        identities: finds accounts by identifier and keeps their credentials.
        hasher: hashes and verifies, within its limits.
        policy: judges new passwords.
        guesses: counts attempts, and judges them.
    """

    name = PASSWORD
    facts = CredentialFacts(PASSWORD, first_factor=True, removable=True, from_traits=True)

    def __init__(self, identities: Identities, *, hasher: Hasher, policy: PasswordPolicy, guesses: Guesses) -> None:
        self._identities = identities
        self._hasher = hasher
        self._policy = policy
        self._guesses = guesses

    def login_nodes(self, view: LoginView) -> Sequence[Node]:
        return _nodes("current-password", 1010001 if view.refresh else 1010022)

    def registration_nodes(self) -> Sequence[Node]:
        return _nodes("new-password", 1040001)

    async def prove(self, unit: Unit, attempt: Attempt) -> Proof:
        """See `LoginMethod`; wrong credentials are a message on the form."""
        fields = ("identifier", PASSWORD)
        missing = [name for name in fields if attempt.submitted.get(name) in (None, "")]
        if missing:
            raise Rejected(fields=[FieldError(name, message(4000002, property=name)) for name in missing])
        identifier, password = (attempt.submitted[name] for name in fields)
        if not isinstance(identifier, str) or not isinstance(password, str):
            raise Rejected(message(4000006))
        try:
            return await self.authenticate(
                unit, identifier=identifier, password=password, client=attempt.client, expected=attempt.identity
            )
        except InvalidCredentials as wrong:
            raise Rejected(message(4000006)) from wrong

    async def authenticate(
        self, unit: Unit, *, identifier: str, password: str, client: Client, expected: Identity | None = None
    ) -> Proof:
        """Whose identifier and password these are; `expected` is who it has to be, where that is known already.

        Raises `InvalidCredentials`, `TooManyRequests`, `Busy`, or `IdentityDisabled` for the right password of an
        account that is switched off.
        """
        found = await self._identities.find_by_identifier(unit, type=PASSWORD, identifier=identifier)
        guess, hashed = Guess(PASSWORD, found, name=identifier, client=client), _hashed(found, expected)
        right = await self._guesses.judge(unit, guess, lambda: self._matches(password, hashed))
        renewed = await self._renewed(right.identity, password)
        proof = await self._guesses.proof(unit, right, aal=Aal.AAL1, secret=_hash_of)
        if renewed is not None:
            config = {**proof.identity.credentials[PASSWORD].config, HASHED: renewed}
            await self._identities.set_credential_config(unit, proof.identity.id, PASSWORD, config)
        return proof

    def missing(self, submitted: Mapping[str, Any]) -> Sequence[FieldError]:
        """See `RegistrationMethod`."""
        password = submitted.get(PASSWORD)
        given = isinstance(password, str) and password != ""
        return () if given else (FieldError(PASSWORD, message(4000002, property=PASSWORD)),)

    async def enrol(self, draft: Draft, submitted: Mapping[str, Any]) -> NewCredential:
        """See `RegistrationMethod`. Raises `UpstreamFailed` where the policy must ask a service that is silent."""
        missing = self.missing(submitted)
        if missing:
            raise Rejected(fields=missing)
        identifiers = draft.identifiers.get(PASSWORD, ())
        if not identifiers:
            raise Rejected(message(4000009))
        password = submitted[PASSWORD]
        broken = await self._policy.check(password, identifiers=identifiers)
        if broken:
            raise Rejected(fields=[FieldError(PASSWORD, rule) for rule in broken])
        return NewCredential(PASSWORD, {HASHED: await self._hasher.hash(password)}, tuple(identifiers))

    async def _matches(self, password: str, hashed: str | None) -> bool:
        if hashed is None:
            await self._hasher.verify_nothing(password)
            return False
        return await self._hasher.verify(password, hashed)

    async def _renewed(self, identity: Identity, password: str) -> str | None:
        """A new hash, where the old one was made otherwise. A busy moment leaves it to the next sign-in."""
        verified = _hash_of(identity)
        if verified is None or not self._hasher.outdated(verified):
            return None
        try:
            return await self._hasher.hash(password)
        except Busy:
            return None


def _hashed(found: Identity | None, expected: Identity | None) -> str | None:
    """The hash to verify against: none for nobody, and none for somebody else than expected."""
    if found is None or (expected is not None and found.id != expected.id):
        return None
    return _hash_of(found)


def _hash_of(identity: Identity) -> str | None:
    credential = identity.credentials.get(PASSWORD)
    hashed = credential.config.get(HASHED) if credential is not None else None
    return hashed if isinstance(hashed, str) and hashed else None


def _nodes(autocomplete: str, submit: int) -> Sequence[Node]:
    field = input_node(
        PASSWORD, PASSWORD, group=PASSWORD, required=True, autocomplete=autocomplete, label=message(1070001)
    )
    return field, submit_node(PASSWORD, label=message(submit))
