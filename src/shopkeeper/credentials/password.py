"""Signing in and registering with a password.

Passwords are checked only in `authenticate`: the login flow calls it through `submit_login`, the storefront through the
provider `own`, and both spend the same budget of failures. An account that does not exist or has no password costs as
much as one that has, and gets the same answer. No transaction is open while a password is hashed.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from shopkeeper.client import Client
from shopkeeper.credentials.attempts import AttemptGuard, CredentialAttempt, Withheld
from shopkeeper.credentials.hashes import Hasher
from shopkeeper.credentials.method import MethodInput, MethodView, require_traits
from shopkeeper.credentials.policy import PasswordPolicy
from shopkeeper.credentials.profile import require_identity
from shopkeeper.credentials.simulated_registrations import SimulatedRegistrations
from shopkeeper.credentials.steps import (
    CredentialChange,
    Effect,
    Enrolment,
    FieldError,
    Form,
    NewCredential,
    Proof,
    SubmissionRejected,
    Unverified,
)
from shopkeeper.crypto import same
from shopkeeper.errors import Busy, InvalidCredentials
from shopkeeper.identity.facts import CredentialFacts
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import Node, input_node, submit_node

PASSWORD: Final = "password"  # noqa: S105 - the name of the method
HASHED: Final = "hashed_password"
SAME_PASSWORD: Final = 4000039
"""The message that the new password is the old one: who gets it has guessed the password."""
SHORTEST_WORD: Final = 5
"""Characters. A password may have a shorter word of the profile in it."""


class Password:
    """The password method.

    Args:
        identities: finds accounts by identifier and stores their credentials.
        hasher: hashes and verifies, within its limits.
        policy: checks new passwords.
        guard: counts attempts and judges them.
        simulated: set where signing in needs a verified address and taken identifiers are kept secret: passwords of
            simulated registrations are answered as those of accounts that nobody has verified.
    """

    name = PASSWORD
    facts = CredentialFacts(PASSWORD, first_factor=True, removable=True, from_traits=True)
    aals = frozenset({Aal.AAL1})

    def __init__(
        self,
        identities: Identities,
        *,
        hasher: Hasher,
        policy: PasswordPolicy,
        guard: AttemptGuard,
        simulated: SimulatedRegistrations | None = None,
    ) -> None:
        self._identities = identities
        self._hasher = hasher
        self._policy = policy
        self._guard = guard
        self._simulated = simulated

    async def login_form(self, unit: Unit, view: MethodView) -> Form:
        """See `LoginMethod`. Who confirms a session is asked for a password if the account has one."""
        if view.refresh and view.identity is not None and PASSWORD not in view.identity.factors:
            return Form((), identifier="none")
        return Form(_nodes("current-password", 1010001 if view.refresh else 1010022))

    async def submit_login(self, unit: Unit, input: MethodInput) -> Proof | Unverified:  # noqa: A002 - the protocol's word
        """See `LoginMethod`. Wrong credentials are a message on the form."""
        fields = ("identifier", PASSWORD)
        missing = [name for name in fields if input.submitted.get(name) in (None, "")]
        if missing:
            raise SubmissionRejected(fields=[FieldError(name, message(4000002, property=name)) for name in missing])
        identifier, password = (input.text(name) for name in fields)
        if identifier is None or password is None:
            raise SubmissionRejected(message(4000006))
        try:
            return await self.authenticate(
                unit, identifier=identifier, password=password, client=input.client, expected=input.identity
            )
        except InvalidCredentials as wrong:
            raise SubmissionRejected(message(4000006)) from wrong

    async def authenticate(
        self, unit: Unit, *, identifier: str, password: str, client: Client, expected: Identity | None = None
    ) -> Proof | Unverified:
        """Prove the account of an identifier by its password; `expected` is the only account that counts, if given.

        Raises `InvalidCredentials`, `TooManyRequests` or `Busy`.
        """
        found = await self._identities.find_by_identifier(unit, type=PASSWORD, identifier=identifier)
        attempt, hashed = CredentialAttempt(PASSWORD, found, name=identifier, client=client), _hashed(found, expected)
        unverified: Unverified | None = None

        async def check() -> bool:
            nonlocal unverified
            right = await self._matches(password, hashed)
            unverified = await self._unverified(unit, found if right else None, identifier, password)
            if unverified is not None:
                raise Withheld
            return right

        try:
            verified = await self._guard.judge(unit, attempt, check)
        except Withheld:
            if unverified is None:
                raise
            return unverified
        return Proof(
            verified.identity.id,
            PASSWORD,
            Aal.AAL1,
            still_valid=lambda identity: same(_hash_of(identity) or "", hashed or ""),
            effect=await self._rehash(verified.identity, password),
        )

    async def registration_form(self, unit: Unit, view: MethodView) -> Form:
        """See `RegistrationMethod`."""
        return Form(_nodes("new-password", 1040001))

    def missing(self, submitted: Mapping[str, Any]) -> Sequence[FieldError]:
        """See `RegistrationMethod`."""
        password = submitted.get(PASSWORD)
        given = isinstance(password, str) and password != ""
        return () if given else (FieldError(PASSWORD, message(4000002, property=PASSWORD)),)

    async def submit_registration(self, unit: Unit, input: MethodInput) -> Enrolment:  # noqa: A002
        """See `RegistrationMethod`. Raises `UpstreamFailed` where the breach list cannot be asked."""
        traits = require_traits(input)
        if missing := self.missing(input.submitted):
            raise SubmissionRejected(fields=missing)
        identifiers = traits.extracted.identifiers.get(PASSWORD, ())
        if not identifiers:
            raise SubmissionRejected(message(4000009))
        credential = await self._new(input.submitted[PASSWORD], identifiers=identifiers)
        password, simulated = input.submitted[PASSWORD], self._simulated

        async def remember(unit: Unit, identity: Identity | None) -> None:
            if simulated is not None:
                known = identity.credentials.get(PASSWORD) if identity is not None else None
                names = known.identifiers if known is not None else ()
                await simulated.remember(unit, identity, names=names, secret=password)

        return Enrolment(traits.values, (credential,), method=PASSWORD, when_simulated=remember)

    async def settings_form(self, unit: Unit, view: MethodView) -> Form:
        """See `SettingsMethod`."""
        return Form(_nodes("new-password", 1070003))

    async def submit_settings(self, unit: Unit, input: MethodInput) -> CredentialChange:  # noqa: A002
        """See `SettingsMethod`. An account without a password gets its first one. Raises `UpstreamFailed` where the
        breach list cannot be asked."""
        identity = require_identity(input)
        if missing := self.missing(input.submitted):
            raise SubmissionRejected(fields=missing)
        identifiers = identity.credentials[PASSWORD].identifiers if PASSWORD in identity.credentials else ()
        if not identifiers:
            raise SubmissionRejected(message(4000009))
        password = input.submitted[PASSWORD]
        await self._check_policy(password, words=(*identifiers, *_texts(identity.traits)))
        hashed = _hash_of(identity)
        if hashed is not None and await self._hasher.verify(password, hashed):
            raise SubmissionRejected(fields=[FieldError(PASSWORD, message(SAME_PASSWORD))])
        return CredentialChange({PASSWORD: NewCredential(PASSWORD, {HASHED: await self._hasher.hash(password)})})

    async def _unverified(
        self, unit: Unit, proven: Identity | None, identifier: str, password: str
    ) -> Unverified | None:
        """Return the step where the password is that of an unverified account, or of a simulated registration.

        `proven` is the account where the password is right. The work is the same for both, and for a wrong password.
        """
        if self._simulated is None or (proven is not None and not (proven.unverified and proven.active)):
            return None
        found = await self._simulated.find(unit, identifier, password)
        if proven is not None:
            return Unverified(PASSWORD, proven, proven.id, proven.address_to_verify)
        return Unverified(PASSWORD, None, found.id, found.address) if found is not None else None

    async def _new(self, password: str, *, identifiers: Sequence[str]) -> NewCredential:
        await self._check_policy(password, words=identifiers)
        return NewCredential(PASSWORD, {HASHED: await self._hasher.hash(password)})

    async def _check_policy(self, password: str, *, words: Sequence[str]) -> None:
        broken = await self._policy.check(password, identifiers=words)
        if broken:
            raise SubmissionRejected(fields=[FieldError(PASSWORD, rule) for rule in broken])

    async def _matches(self, password: str, hashed: str | None) -> bool:
        if hashed is None:
            await self._hasher.verify_nothing(password)
            return False
        return await self._hasher.verify(password, hashed)

    async def _rehash(self, identity: Identity, password: str) -> Effect | None:
        """Return an effect that stores a new hash where the stored one is outdated. Hashing happens here, outside any
        transaction."""
        renewed = await self._renewed(identity, password)
        if renewed is None:
            return None
        config = {**identity.credentials[PASSWORD].config, HASHED: renewed}

        async def store(unit: Unit) -> None:
            await self._identities.set_credential_config(unit, identity.id, PASSWORD, config)

        return store

    async def _renewed(self, identity: Identity, password: str) -> str | None:
        """Return a new hash where the stored one is outdated; None while the pool is busy, so that the next sign-in
        does it."""
        stored = _hash_of(identity)
        if stored is None or not self._hasher.outdated(stored):
            return None
        try:
            return await self._hasher.hash(password)
        except Busy:
            return None


def _hashed(found: Identity | None, expected: Identity | None) -> str | None:
    """Return the hash to verify against; None for an unknown account, and for another one than expected."""
    if found is None or (expected is not None and found.id != expected.id):
        return None
    return _hash_of(found)


def _texts(value: Any) -> Iterator[str]:
    """Yield the words and sentences of a profile that are long enough to make a password guessable."""
    if isinstance(value, str) and len(value) >= SHORTEST_WORD:
        yield value
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _texts(inner)


def _hash_of(identity: Identity) -> str | None:
    credential = identity.credentials.get(PASSWORD)
    hashed = credential.config.get(HASHED) if credential is not None else None
    return hashed if isinstance(hashed, str) and hashed else None


def _nodes(autocomplete: str, submit: int) -> Sequence[Node]:
    field = input_node(
        PASSWORD, PASSWORD, group=PASSWORD, required=True, autocomplete=autocomplete, label=message(1070001)
    )
    return field, submit_node(PASSWORD, label=message(submit))
