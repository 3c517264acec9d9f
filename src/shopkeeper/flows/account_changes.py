"""Acting on a change of the signed-in account: credentials or traits, in one transaction.

The flow stays open. The session that makes the change goes on, a browser's with a new token where the change gives or
takes access; the other sessions end where a credential was changed. The owner is told by mail.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, TypeAlias

from shopkeeper import crypto
from shopkeeper.client import Client
from shopkeeper.clock import Clock
from shopkeeper.credentials.password import PASSWORD
from shopkeeper.credentials.stale_traits import ChangedMeanwhile
from shopkeeper.credentials.steps import CredentialChange, SubmissionRejected, TraitsChange
from shopkeeper.errors import Conflict, SessionInactive
from shopkeeper.flows import store
from shopkeeper.flows.continue_with import ContinueWith
from shopkeeper.flows.flow import FlowState, FlowType, Opening
from shopkeeper.flows.handler import FlowHandler, OwnedFlowHandler, ShowsVerification, Turn
from shopkeeper.flows.outcomes import FlowInvalid, Updated
from shopkeeper.flows.rejections import rejections_shown
from shopkeeper.flows.return_to import ReturnAddresses
from shopkeeper.flows.verification_opener import VerificationOpener
from shopkeeper.identity.address_changes import (
    UNDO_FOR,
    AddressChanges,
    Recipients,
    TooManyAddressChanges,
    addresses_of,
    mailboxes,
)
from shopkeeper.identity.mail_values import mail_values
from shopkeeper.identity.normalise import normalise_identifier
from shopkeeper.identity.service import Identities
from shopkeeper.identity.unique_names import names_of
from shopkeeper.identity.values import Identity, Via
from shopkeeper.notify.account_notices import AccountNotices
from shopkeeper.notify.sign_up_notices import SignUpNotices
from shopkeeper.sessions.values import Session
from shopkeeper.signin.completion import SignedIn, SignInCompletion
from shopkeeper.signin.hooks import HookSubject
from shopkeeper.storage.database import Unit
from shopkeeper.throttle import Throttle
from shopkeeper.ui.messages import in_other_words, message

Change: TypeAlias = CredentialChange | TraitsChange

SAVED: Final = 1050001
TAKEN: Final = 4000007
TOO_MANY: Final = 4050002
_OF_ANOTHER: Final = "This address or name belongs to another account. Please choose another one."
_HOURS: Final = int(UNDO_FOR.total_seconds()) // 3600


class AccountChanges:
    """Applies changes.

    Args:
        attempts: limits the mails to owners of addresses that others want.
        throttle: limits how many taken identifiers one account can find.
        recipients: which addresses from before a change are told of it.
        names_verification: whether `continue_with` has the verification of a new address in any case.
    """

    def __init__(
        self,
        *,
        completion: SignInCompletion,
        identities: Identities,
        address_changes: AddressChanges,
        notices: AccountNotices,
        attempts: SignUpNotices,
        verifications: VerificationOpener,
        throttle: Throttle,
        return_addresses: ReturnAddresses,
        clock: Clock,
        recipients: Recipients = Recipients.REMOVED,
        names_verification: bool = False,
    ) -> None:
        self._completion = completion
        self._identities = identities
        self._address_changes = address_changes
        self._notices = notices
        self._attempts = attempts
        self._verifications = verifications
        self._throttle = throttle
        self._return = return_addresses
        self._clock = clock
        self._recipients = recipients
        self._names_verification = names_verification

    async def apply(self, handler: FlowHandler, turn: Turn, change: Change) -> Updated:
        """Apply a change and return the form as it is afterwards. Never call it while a transaction is open.

        Raises `FlowInvalid` where the change is rejected after all, `TooManyRequests`, `SessionInactive`,
        `IdentityDisabled`, or the refusal of a hook.
        """
        session = turn.caller.session
        if session is None or not isinstance(handler, OwnedFlowHandler):
            raise SessionInactive("The account belongs to a customer: sign in first.")
        traits = change.traits if isinstance(change, TraitsChange) else session.identity.traits
        await self._completion.before(
            HookSubject(handler.name, turn.method, session.identity.id, turn.caller.client, traits)
        )
        async with self._counted(session, change):
            try:
                return await self._apply(handler, turn, session, change)
            except FlowInvalid as invalid:
                if isinstance(change, TraitsChange) and _is_taken(invalid):
                    await self._tell_owner(turn, session.identity, change)
                raise

    @asynccontextmanager
    async def _counted(self, session: Session, change: Change) -> AsyncIterator[None]:
        """Count a taken identifier as a failure: an account must not be a way to find out who else has one."""
        if not (isinstance(change, TraitsChange) and change.privileged):
            yield
            return
        slot = await self._throttle.check("taken", ip=str(session.identity.id))
        try:
            yield
        except FlowInvalid as invalid:
            await (self._throttle.failed(slot) if _is_taken(invalid) else self._throttle.release(slot))
            raise
        except BaseException:
            await self._throttle.release(slot)
            raise
        await self._throttle.release(slot)

    async def _tell_owner(self, turn: Turn, own: Identity, change: TraitsChange) -> None:
        """Tell the owner of a taken address, as where somebody signs up with it, once an hour together with that."""
        schema = self._identities.schemas.require(own.schema_id)
        before, after = (names_of(schema.extract(traits)) for traits in (change.before, change.traits))
        async with self._completion.transaction() as unit:
            owner = await self._address_changes.owner_of(unit, after.without(before))
            if owner is None or owner.id == own.id:
                return
            mailbox = normalise_identifier(owner.email or "")
            if not await self._attempts.was_sent(mailbox):
                locale = owner.locale or turn.caller.locale
                await self._notices.address_wanted(unit, to=owner.email, account=mail_values(owner), locale=locale)
                unit.after_commit(lambda: self._attempts.remember(mailbox))

    async def _apply(self, handler: OwnedFlowHandler, turn: Turn, session: Session, change: Change) -> Updated:
        # Forms from before a change of credentials are worth nothing. One of traits leaves the browser's other forms
        # alone: the same principal goes on.
        csrf = crypto.new_csrf_token() if isinstance(change, CredentialChange) else None
        mailed = await self._mailed_to(session, change, client=turn.caller.client)
        async with self._completion.transaction() as unit:
            with rejections_shown(unit, turn, now=self._clock.now()):
                before, signed_in = await self._continued(unit, turn, session, change)
                shown_next: Sequence[ContinueWith] = ()
                if isinstance(change, TraitsChange):
                    identity = await self._change_traits(unit, turn, before, change)
                    identity, shown_next = await self._verify_later(
                        unit, turn, before, identity, mailed=mailed, csrf=csrf
                    )
                else:
                    identity = await self._change_credentials(unit, turn, signed_in.session, before, change)
                await self._completion.after_change(
                    unit, signed_in.session, flow=handler.name, method=turn.method, client=turn.caller.client
                )
                caller = replace(turn.caller, session=replace(signed_in.session, identity=identity))
                done = replace(turn.flow.remembering(turn.method, {}), active=None)
                form = await handler.form_of(unit, done, caller, identity)
                told = (message(SAVED),)
                shown = replace(form, state=FlowState.SUCCESS, messages=told, updated_at=self._clock.now())
                # Made under the lock of the identity; it must not be lost because the form was stored meanwhile.
                await store.keep_form(unit, shown, as_read=turn.flow)
        wanted = self._return.wanted(handler.settings.after, method=turn.method, return_to=turn.flow.return_to)
        shows = isinstance(handler, ShowsVerification) and handler.shows_verification(turn.method)
        return Updated(
            shown,
            status=200,
            signed_in=signed_in,
            continue_with=shown_next if shows or self._names_verification else (),
            shows_next=shows,
            saved=True,
            csrf_token=csrf,
            next=wanted,
        )

    async def _continued(self, unit: Unit, turn: Turn, session: Session, change: Change) -> tuple[Identity, SignedIn]:
        """Lock the account, then the session that changes it. A browser's session gets a new token where the change is
        privileged."""
        browser = turn.flow.type is FlowType.BROWSER
        linked = change.upstream if isinstance(change, CredentialChange) else None
        if isinstance(change, CredentialChange) and change.proof is not None:
            signed_in = await self._completion.elevate(
                unit, change.proof, session=session, client=turn.caller.client, new_token=browser, linked=linked
            )
            return await self._identities.lock(unit, session.identity.id), signed_in
        identity = await self._identities.lock(unit, session.identity.id)
        new_token = browser and _is_privileged(change)
        return identity, await self._completion.keep(unit, session, identity, new_token=new_token, linked=linked)

    async def _change_traits(self, unit: Unit, turn: Turn, before: Identity, change: TraitsChange) -> Identity:
        if before.traits != change.before:
            raise ChangedMeanwhile
        actor, client_ip = str(before.id), turn.caller.client.ip
        try:
            after = await self._identities.change_traits(unit, before, change.traits, actor=actor, client_ip=client_ip)
            if change.privileged:
                await self._record(unit, turn, before, after)
        except Conflict as taken:
            raise SubmissionRejected(in_other_words(TAKEN, "address_of_another", _OF_ANOTHER)) from taken
        except TooManyAddressChanges as too_many:
            raise SubmissionRejected(message(TOO_MANY)) from too_many
        return after

    async def _record(self, unit: Unit, turn: Turn, before: Identity, after: Identity) -> None:
        """Give the former addresses their rights, and tell them."""
        new_address = next((address for address in mailboxes(after) if address not in mailboxes(before)), "")
        for right in await self._address_changes.record(unit, before, after, recipients=self._recipients):
            await self._notices.address_changed(
                unit,
                to=right.address,
                account=mail_values(before),
                new_address=new_address,
                token=right.token,
                hours=_HOURS,
                locale=before.locale or turn.caller.locale,
            )

    async def _mailed_to(self, session: Session, change: Change, *, client: Client) -> frozenset[str]:
        """Count a verification mail for each new address of a change, and return those within budget."""
        if not (isinstance(change, TraitsChange) and change.privileged):
            return frozenset()
        schema = self._identities.schemas.require(session.identity.schema_id)
        fresh = set(schema.extract(change.traits).verifiable) - set(schema.extract(change.before).verifiable)
        return await self._verifications.within_budget(
            [value for via, value in fresh if via is Via.EMAIL], client=client
        )

    async def _verify_later(
        self,
        unit: Unit,
        turn: Turn,
        before: Identity,
        after: Identity,
        *,
        mailed: frozenset[str],
        csrf: bytes | None,
    ) -> tuple[Identity, Sequence[ContinueWith]]:
        """Open a verification flow for each new address, for the browser's new anti-CSRF token, and queue its mail for
        those in `mailed`."""
        opener, flow = self._verifications, turn.flow
        known = {value for _, value in addresses_of(before)}
        fresh = tuple(value for value in opener.pending(after) if value not in known) if opener.enabled else ()
        opening = Opening(type=flow.type, request_url=flow.request_url)
        caller = replace(turn.caller, csrf_tokens=(csrf,)) if csrf is not None else turn.caller
        return await opener.open_each(unit, after, fresh, mailed=mailed, opening=opening, caller=caller)

    async def _change_credentials(
        self, unit: Unit, turn: Turn, session: Session, before: Identity, change: CredentialChange
    ) -> Identity:
        if change.effect is not None:
            await change.effect(unit)
        now = before if change.effect is None else await self._identities.lock(unit, before.id)
        changes = {**change.changes, **(change.revise(now) if change.revise is not None else {})}
        try:
            after = await self._identities.change_locked_credentials(
                unit,
                now,
                changes,
                actor=str(before.id),
                client_ip=turn.caller.client.ip,
                spare_session=session.id,
            )
        except Conflict as taken:
            if change.taken is None:
                raise
            raise SubmissionRejected(change.taken) from taken
        locale = after.locale or turn.caller.locale
        if change.linked is not None and after is not now:
            await self._notices.sign_in_linked(
                unit, to=after.email, account=mail_values(after), provider=change.linked, locale=locale
            )
        if PASSWORD in changes:
            await self._notices.password_changed(unit, to=after.email, account=mail_values(after), locale=locale)
        return after


def _is_taken(invalid: FlowInvalid) -> bool:
    return any(shown.id == TAKEN for shown in invalid.flow.messages)


def _is_privileged(change: Change) -> bool:
    return change.privileged if isinstance(change, TraitsChange) else True
