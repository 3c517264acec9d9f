"""The hooks around a sign-in or a registration: what a configuration may name, and the protocols they follow.

    blocking hook   before the transaction; may call other servers; may refuse, or change the traits of a new identity
    sign-in hook    inside the transaction, after the session has started; local writes only; may refuse

A hook refuses by returning `Refuse`: its effect commits in a unit of its own, the session does not.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol
from uuid import UUID

from shopkeeper.client import Client
from shopkeeper.credentials.steps import Effect, Unverified
from shopkeeper.errors import Refusal, VerifiedAddressRequired
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.values import Session
from shopkeeper.storage.database import Unit

NOT_VERIFIED: Final = 4000010


@dataclass(frozen=True, slots=True)
class Refuse:
    """A hook's refusal.

    Args:
        effect: commits although the sign-in does not, such as a verification flow that follows.
        before: runs before the effect, while no transaction is open; where it returns False, the effect is left out.
        shown: the id of the message with which a form is shown again, rather than answering the error; nothing else
            happens then.
    """

    error: Refusal
    effect: Effect | None = None
    before: Callable[[], Awaitable[bool]] | None = None
    shown: int | None = None

    def without_effect(self) -> "Refuse":
        """Return the refusal alone."""
        return replace(self, effect=None, before=None)


@dataclass(frozen=True, slots=True)
class HookOrigin:
    """The request that a sign-in belongs to, for hooks that open flows.

    Args:
        browser: whether the client is a browser, which a flow that is opened for it belongs to by `csrf`.
        locale: the language of mails where the person's own is not known.
        wished_language: the language that the person has chosen or asks for.
    """

    client: Client
    store: str
    browser: bool = False
    request_url: str = ""
    return_to: str | None = None
    csrf: bytes | None = None
    locale: str = "en"
    wished_language: str | None = None


class HookRefused(Exception):
    """A hook has refused inside the transaction: raised to roll it back."""

    def __init__(self, refuse: Refuse) -> None:
        super().__init__(refuse.error.code)
        self.refuse = refuse


@dataclass(frozen=True, slots=True)
class HookSubject:
    """The identity that signs in or registers. A new one has its real id already; `traits` are those that would be
    stored. `silent` as in `SignInRequest`."""

    flow: str
    method: str
    identity_id: UUID
    client: Client
    traits: Mapping[str, Any] = field(default_factory=dict)
    silent: bool = False


class BlockingHook(Protocol):
    """A hook before the transaction. No transaction is open while it runs, so it may wait for another server."""

    async def __call__(self, subject: HookSubject) -> Refuse | Mapping[str, Any] | None:
        """Return None to continue, other traits for a new identity, or `Refuse`."""
        ...


class SignInHook(Protocol):
    """A hook inside the transaction of a sign-in."""

    async def __call__(self, unit: Unit, *, session: Session, origin: HookOrigin) -> Refuse | None:
        """Return None to continue, or `Refuse`."""
        ...


@dataclass(frozen=True, slots=True)
class RevokeActiveSessions:
    """`revoke_active_sessions`: signing in ends the identity's other sessions."""

    sessions: Sessions

    async def __call__(self, unit: Unit, *, session: Session, origin: HookOrigin) -> None:
        who = session.identity.id
        await self.sessions.end_for(unit, who, session.id, by=str(who), client=origin.client)


class OpensVerification(Protocol):
    """Opens a verification flow for an identity whose sign-in was refused."""

    def may_open(self, address: str | None) -> bool:
        """Return whether there are such flows, and an address to verify."""
        ...

    async def may_mail(self, address: str | None, *, client: Client) -> bool:
        """Count a mail; return False where there were too many. No transaction may be open."""
        ...

    async def open(
        self, unit: Unit, unverified: Unverified, origin: HookOrigin, *, mailed: bool
    ) -> Sequence[Mapping[str, Any]]:
        """Open the flow, queue its mail if it may be `mailed`, and return the actions that show it
        (`continue_with`)."""
        ...


@dataclass(frozen=True, slots=True)
class RequireVerifiedAddress:
    """`require_verified_address`: refuse a sign-in while no address of the identity is verified, and verify one.

    An identity without addresses that could be verified signs in: there is nothing to ask for. With `in_form`, forms
    show the refusal, and no mail is sent (`feature_flags.legacy_require_verified_login_error`).
    """

    verification: OpensVerification
    in_form: bool = False

    async def __call__(self, unit: Unit, *, session: Session, origin: HookOrigin) -> Refuse | None:
        identity = session.identity
        if not identity.unverified:
            return None
        method = session.authentication_methods[-1].method
        return self.refusal(Unverified(method, identity, identity.id, identity.address_to_verify), origin)

    def refusal(self, unverified: Unverified, origin: HookOrigin) -> Refuse:
        """Return the refusal of an account that is not verified, or of a registration that was only simulated."""
        error, mailed = VerifiedAddressRequired("None of the account's addresses is confirmed yet."), False

        async def count() -> bool:
            nonlocal mailed
            if not self.verification.may_open(unverified.address):
                return False
            mailed = await self.verification.may_mail(unverified.address, client=origin.client)
            return True

        async def open_verification(unit: Unit) -> None:
            shown = await self.verification.open(unit, unverified, origin, mailed=mailed)
            error.details = {"continue_with": shown}

        return Refuse(
            error,
            open_verification,
            before=count,
            shown=NOT_VERIFIED if self.in_form else None,
        )
