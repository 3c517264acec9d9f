"""Guessing: the steps that all methods share whose secret somebody might guess at, so that no method can forget one.

A method says who is tried, and looks whether what was given is right. The throttle counts the attempt *before* the
method looks, a wrong one is remembered, an account that is switched off is refused, and without a verdict there is no
proof.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from shopkeeper.credentials.method import Proof
from shopkeeper.errors import IdentityDisabled, InvalidCredentials, NotFound, TooManyRequests
from shopkeeper.identity.normalise import LONGEST, normalise_identifier
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Aal, Client, Identity
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.database import Unit
from shopkeeper.throttle import Attempt, Throttle


@dataclass(frozen=True, slots=True)
class Guess:
    """One try: with which method, at whose account, from where.

    `identity` is whom the `name` leads to. One at a name that leads to nobody is looked at all the same, and is wrong.
    """

    method: str
    identity: Identity | None
    name: str
    client: Client

    @property
    def account(self) -> str:
        """What the budget goes by: all names of an account share one, and a name without an account has its own.

        So has one that is too long to be anybody's, whatever it begins with: it must not spend the budget of the name
        that is left when it is cut, for that would tell whether that one is somebody's.
        """
        if self.identity is not None:
            return str(self.identity.id)
        return normalise_identifier(self.name) if len(self.name) <= LONGEST else self.name


@dataclass(frozen=True, slots=True)
class RightGuess:
    """A guess that was right, and whose account that is, as it was read before the method looked."""

    guess: Guess
    identity: Identity


class Guesses:
    """Judges guesses.

    Args:
        identities: holds an account that was guessed right.
        throttle: counts failures by account and by address.
        audit: remembers failures.

    >>> async def prove(unit, found, name, code, client):
    ...     guess = Guess("totp", found, name=name, client=client)
    ...     right = await guesses.judge(unit, guess, lambda: matches(found, code))
    ...     return await guesses.proof(unit, right, aal=Aal.AAL2, secret=lambda account: account.credentials["totp"])
    """

    def __init__(self, identities: Identities, *, throttle: Throttle, audit: Audit) -> None:
        self._identities = identities
        self._throttle = throttle
        self._audit = audit

    async def judge(self, unit: Unit, guess: Guess, look: Callable[[], Awaitable[bool]]) -> RightGuess:
        """The verdict. `look` does the method's work and says whether the guess is right; it must cost the same for
        nobody's name. Whatever it raises is no verdict, and the attempt is given back.

        Raises `TooManyRequests` before anything is looked at, and `InvalidCredentials`.
        """
        attempt = await self._counted(unit, guess)
        try:
            right = await look()
        except BaseException:  # too busy, or the caller has gone
            await self._throttle.release(attempt)
            raise
        if not right or guess.identity is None:
            await self._throttle.failed(guess.account, ip=guess.client.ip)
            await self._remember(unit, guess, "wrong_credentials")
            raise InvalidCredentials
        await self._throttle.succeeded(guess.account, ip=guess.client.ip)
        return RightGuess(guess, guess.identity)

    async def _counted(self, unit: Unit, guess: Guess) -> Attempt:
        try:
            return await self._throttle.check(guess.account, ip=guess.client.ip)
        except TooManyRequests:
            if await self._throttle.is_first_refusal(ip=guess.client.ip):
                await self._remember(unit, guess, "too_many_attempts")
            raise

    async def proof(self, unit: Unit, right: RightGuess, *, aal: Aal, secret: Callable[[Identity], object]) -> Proof:
        """What a right guess proves: the identity as it is now, held. From here on a transaction is open.

        `secret` is what was guessed, as the identity has it: whoever changed it in the meantime made the guess wrong.
        Raises `InvalidCredentials`, or `IdentityDisabled` where the account is switched off.
        """
        present = await self._still(unit, right, secret=secret)
        if not present.active:
            await self._remember(unit, right.guess, "identity_disabled")
            raise IdentityDisabled(
                "The account is switched off; whoever runs the shop can switch it on again.",
                details={"identity_id": str(present.id)},
            )
        return Proof(present, right.guess.method, aal)

    async def _still(self, unit: Unit, right: RightGuess, *, secret: Callable[[Identity], object]) -> Identity:
        try:
            present = await self._identities.hold(unit, right.identity.id)
        except NotFound as gone:
            await self._remember(unit, right.guess, "wrong_credentials")
            raise InvalidCredentials from gone
        if secret(present) != secret(right.identity):
            await self._remember(unit, right.guess, "wrong_credentials")
            raise InvalidCredentials
        return present

    async def _remember(self, unit: Unit, guess: Guess, reason: str) -> None:
        """Whatever becomes of the unit: the refusal that follows undoes everything else."""
        await self._audit.record(
            unit,
            "sign_in.failed",
            outcome="refused",
            actor="anonymous",
            subject=str(guess.identity.id) if guess.identity is not None else None,
            client_ip=guess.client.ip,
            details={"method": guess.method, "reason": reason},
            always=True,
        )
