"""Judging attempts: the steps that all methods with a secret share, so that no method can forget one.

A method names the account that is tried and checks the secret. The throttle counts the attempt *before* the check, a
failure is recorded in the audit trail, and an unknown account fails after the same work as a known one. Attempts are
counted for the name that was given, because a block that showed at the account's other names would tell that they
belong together; the account has a limit over all its names that does not show. Whether the account is active is asked
later, under the lock (`signin/completion.py`).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar
from uuid import UUID

from shopkeeper.client import Client
from shopkeeper.errors import InvalidCredentials, TooManyRequests
from shopkeeper.identity.normalise import LONGEST, normalise_identifier
from shopkeeper.identity.values import Identity
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.database import Unit
from shopkeeper.throttle import Throttle, ThrottleSlot

T = TypeVar("T")


@dataclass(frozen=True)
class CredentialAttempt:
    """One attempt to prove an identity: with which method, at which account, from where.

    Args:
        identity: the account that `name` leads to, None where it is unknown; the check still runs then, and fails.
        provable: whether this attempt may prove the account, such as in a flow that is for one account only. False
            fails after the same work and is counted for the same subject as any other wrong attempt.
        name: what was given as the account's name. A second factor, which asks for none, gives the account's id.
        own_secret: the secret belongs to the name and not to the account, such as a mailed code. It is counted by
            method and name only: guesses at the codes of two addresses are not guesses at one secret.
        flow: what the attempt is part of, which names the audit event of a failure.
        known_id: the account's id, where the account itself was not read.
    """

    method: str
    identity: Identity | None
    name: str
    client: Client
    provable: bool = True
    own_secret: bool = False
    flow: str = "sign_in"
    known_id: UUID | None = None

    @property
    def identity_id(self) -> UUID | None:
        """The account that is tried; None where it is unknown."""
        return self.identity.id if self.identity is not None else self.known_id

    @cached_property
    def subject(self) -> str:
        """The subject whose budget is spent: the normalised name, whether there is such an account or not.

        A name longer than any identifier is not normalised: cut to a shorter one, it would spend that name's budget.
        """
        name = normalise_identifier(self.name) if len(self.name) <= LONGEST else self.name
        return f"{self.method}\0{name}" if self.own_secret else name

    @property
    def account(self) -> str | None:
        """What the attempts at all names of the account are counted for; an unknown name counts for itself."""
        if self.own_secret:
            return None
        return str(self.identity_id) if self.identity_id is not None else f"nobody\0{self.subject}"


@dataclass(frozen=True, slots=True)
class VerifiedAttempt:
    """An attempt whose secret was right, with the identity as it was read before the check."""

    attempt: CredentialAttempt
    identity: Identity


class Withheld(Exception):
    """Raised by a check: the secret is right, but its account may not sign in yet.

    It counts neither as a failure, which would block a customer who waits for a mail, nor as a success, which would
    clear the failures of guesses at the same name.
    """


class AttemptGuard:
    """Judges attempts.

    >>> async def submit(unit, found, name, code, client):  # doctest: +SKIP
    ...     attempt = CredentialAttempt("totp", found, name=name, client=client)
    ...     verified = await guard.judge(unit, attempt, lambda: matches(found, code))
    ...     return Proof(verified.identity.id, "totp", Aal.AAL2, still_valid=lambda now: secret(now) == secret(found))

    Args:
        throttle: counts failures by name, by account and by client address.
        audit: records failures.
    """

    def __init__(self, *, throttle: Throttle, audit: Audit) -> None:
        self._throttle = throttle
        self._audit = audit

    async def judge(
        self, unit: Unit, attempt: CredentialAttempt, check: Callable[[], Awaitable[bool]]
    ) -> VerifiedAttempt:
        """Judge the attempt as `judge_secret` does, and return it with the identity as it was read before."""
        await self.judge_secret(unit, attempt, check)
        if attempt.identity is None:
            raise TypeError("an attempt that proves an account is made with the account")
        return VerifiedAttempt(attempt, attempt.identity)

    async def judge_secret(self, unit: Unit, attempt: CredentialAttempt, check: Callable[[], Awaitable[bool]]) -> None:
        """Count the attempt, run `check`, and return where the secret is right.

        `check` says whether the secret is right; it must cost the same for an unknown account. Where it raises, there
        is no verdict and the attempt is given back. Raises `TooManyRequests` before the check, and
        `InvalidCredentials`, also for the right secret where the account's own limit is reached: saying so would tell a
        stranger which names belong to it.
        """
        slot = await self._counted(unit, attempt)
        try:
            right = await check()
        except Withheld:
            if not slot.exhausted:
                await self._throttle.release(slot)
                raise
            right = False
        except BaseException:  # too busy, or the client disconnected
            await self._throttle.release(slot)
            raise
        if not right or attempt.identity_id is None or not attempt.provable or slot.exhausted:
            await self._throttle.failed(slot)
            reason = "too_many_attempts" if slot.exhausted else "wrong_credentials"
            await _record_failure(self._audit, unit, attempt, reason)
            raise InvalidCredentials
        await self._throttle.succeeded(slot)

    async def judge_elsewhere(
        self, unit: Unit, attempt: CredentialAttempt, check: Callable[[], Awaitable[T | None]]
    ) -> T:
        """Judge an attempt at an account that another server keeps: only its answer says whose it is.

        `check` asks that server, and returns what it vouches for, None where the secret is wrong. Counts and raises as
        `judge_secret` does.
        """
        slot = await self._counted(unit, attempt)
        try:
            vouched = await check()
        except BaseException:  # no verdict: an outage, or a secret that is right and not enough
            await self._throttle.release(slot)
            raise
        if vouched is None or slot.exhausted:
            await self._throttle.failed(slot)
            await _record_failure(
                self._audit, unit, attempt, "too_many_attempts" if slot.exhausted else "wrong_credentials"
            )
            raise InvalidCredentials
        await self._throttle.succeeded(slot)
        return vouched

    async def record_failed_registration(self, unit: Unit, *, method: str, client: Client) -> None:
        """Record a wrong secret in a registration, which the registrar counts. There is no account to name yet."""
        attempt = CredentialAttempt(method, None, name="", client=client, flow="registration")
        await _record_failure(self._audit, unit, attempt, "wrong_credentials")

    async def _counted(self, unit: Unit, attempt: CredentialAttempt) -> ThrottleSlot:
        try:
            return await self._throttle.check(attempt.subject, ip=attempt.client.ip, account=attempt.account)
        except TooManyRequests:
            if await self._throttle.is_first_refusal(ip=attempt.client.ip):
                await _record_failure(self._audit, unit, attempt, "too_many_attempts")
            raise


async def _record_failure(audit: Audit, unit: Unit, attempt: CredentialAttempt, reason: str) -> None:
    """Record a failed attempt, also where the unit rolls back."""
    await audit.record(
        unit,
        f"{attempt.flow}.failed",
        outcome="refused",
        actor="anonymous",
        subject=str(attempt.identity_id) if attempt.identity_id is not None else None,
        client_ip=attempt.client.ip,
        details={"method": attempt.method, "reason": reason},
        always=True,
    )
