"""Signing in and registering with a one-time code that is mailed (`code`, Kratos' passwordless strategy).

A submission without a code sends one; the next one contains it. The flow stores where codes went and their HMACs
(`one_time_codes.py`). With mitigation of account enumeration, an unknown or taken address gets the answer of any other
one, after the same work; only the owner of the mailbox learns more.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from shopkeeper.credentials import code_nodes as nodes
from shopkeeper.credentials.attempts import AttemptGuard, CredentialAttempt
from shopkeeper.credentials.code_mails import CodeMails, CodeRequest, withheld_for
from shopkeeper.credentials.method import MethodInput, MethodView, require_traits
from shopkeeper.credentials.one_time_codes import IssuedCode, OneTimeCodes, SentCode
from shopkeeper.credentials.steps import (
    Ask,
    Effect,
    Enrolment,
    FieldError,
    Form,
    LastAttempt,
    Proof,
    StartOver,
    SubmissionRejected,
)
from shopkeeper.errors import InvalidCredentials
from shopkeeper.identity.extraction import Address, Extracted
from shopkeeper.identity.facts import CredentialFacts
from shopkeeper.identity.formats import is_email
from shopkeeper.identity.normalise import LONGEST, normalise_identifier
from shopkeeper.identity.service import Identities
from shopkeeper.identity.unique_names import UniqueNames
from shopkeeper.identity.values import Aal, Identity, Via
from shopkeeper.notify.sign_up_notices import SignUpNotices
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import Message, message

CODE: Final = "code"
SENT: Final = "sent_email"
_JSON_TYPES: Final = {bool: "boolean", int: "integer", float: "number", list: "array"}


class Code:
    """The method of one-time codes.

    Args:
        identities: finds accounts by address.
        codes: issues and checks codes.
        mails: queues mails, within budgets.
        guard: counts attempts and judges them.
        notices: limits the mails to owners of addresses that somebody wants to register with.
        max_submissions: how many codes may be tried in one flow.
        mitigate_enumeration: whether answers hide which addresses have an account.
    """

    name = CODE
    facts = CredentialFacts(
        CODE,
        first_factor=True,
        from_traits=True,
        reached_by=Via.EMAIL,
        config_from_traits=lambda extracted: _config(_code_addresses(extracted)),
        written_version=1,
    )
    aals = frozenset({Aal.AAL1})

    def __init__(
        self,
        identities: Identities,
        *,
        codes: OneTimeCodes,
        mails: CodeMails,
        guard: AttemptGuard,
        notices: SignUpNotices,
        max_submissions: int,
        mitigate_enumeration: bool,
    ) -> None:
        self._identities = identities
        self._codes = codes
        self._mails = mails
        self._guard = guard
        self._notices = notices
        self._max_submissions = max_submissions
        self._mitigate = mitigate_enumeration

    # -- signing in ----------------------------------------------------------------------------------------------------

    async def login_form(self, unit: Unit, view: MethodView) -> Form:
        """See `LoginMethod`. A browser that confirms its session is offered the addresses of the account."""
        if view.identity is None or not view.refresh or view.native:
            return Form((nodes.send_button(1010015),), identifier="text")
        identity = await self._identities.get(unit, view.identity.id, credentials=True)
        buttons = [nodes.address_button(via, address) for via, address in _mailable(self._addresses(identity))]
        return Form(buttons, identifier="none")

    async def submit_login(self, unit: Unit, input: MethodInput) -> Proof | Ask | StartOver:  # noqa: A002 - the protocol's word
        """See `LoginMethod`. Send a code, or check the one that was sent."""
        typed, sent = _typed(input), [SentCode.from_context(stored) for stored in input.context.get("sent", ())]
        if typed is None or not sent:
            return await self._send_login_code(unit, input)
        _require_filled(typed)
        try:
            return await self._prove(unit, input, sent[0], typed)
        except NoAttemptLeft:
            return StartOver((message(4010008),))
        except InvalidCredentials:
            form = Form(nodes.login_wrong(input, sent[0].address), input.context, "form")
            return Ask(form, state=SENT, messages=(message(4010008),))

    async def _send_login_code(self, unit: Unit, submission: MethodInput) -> Ask:
        address = _require_address(submission)
        if submission.identity is not None:
            await self._require_own(unit, submission.identity, address)
        request = CodeRequest("login", address, submission.client)
        await self._mails.spend(unit, request)
        found = await self._find(unit, address)
        identity = found if self._may_prove(found, (Via.EMAIL, address), submission) else None
        if identity is None and not self._mitigate:
            raise SubmissionRejected(message(4000035))
        issued = (
            self._codes.issue(via=Via.EMAIL, address=address, identity_id=identity.id, until=submission.expires_at)
            if identity is not None
            else self._codes.issue_unusable(via=Via.EMAIL, address=address)
        )
        return Ask(
            Form(nodes.login_sent(submission, address), _context(issued.sent), "form"),
            state=SENT,
            messages=(message(1010025 if submission.refresh else 1010014),),
            transient_payload={},
            effect=self._mail_login_code(request, identity, issued, submission, found=found),
        )

    async def _require_own(self, unit: Unit, expected: Identity, address: str) -> None:
        """Refuse an address of another account in a flow that is for one account, before its budget is spent.

        The answer reveals nothing about other accounts: it depends on the addresses of this one alone.
        """
        now = await self._identities.get(unit, expected.id)
        if (Via.EMAIL, address) not in self._addresses(now):
            raise _at_identifier(message(4000035))

    def _mail_login_code(
        self,
        request: CodeRequest,
        identity: Identity | None,
        issued: IssuedCode,
        view: MethodView,
        *,
        found: Identity | None,
    ) -> Effect:
        disabled = found.id if found is not None and not found.active else None
        return self._mails.mail(
            request,
            "login_code_valid",
            context={
                **view.mail_values(identity),
                "code": issued.code,
                "expires_in_minutes": self._codes.minutes_left(issued.sent),
            },
            locale=view.locale_for(identity),
            account=identity.id if identity is not None else disabled,
            withheld=withheld_for(disabled) if identity is None else None,
        )

    async def _prove(self, unit: Unit, submission: MethodInput, sent: SentCode, typed: str) -> Proof:
        """Return the proof for a right code. Raises `InvalidCredentials`, `TooManyRequests` or `NoAttemptLeft`.

        The account is the one that the code was sent for, which must be the one that the flow is for, and must still
        have the address under the lock: no look-up before says more. The identifier, if it is sent again, must be the
        one that the code went to. Every attempt is counted for the address that the code went to, so that the throttle
        treats known and unknown addresses alike.
        """
        address, account = (sent.via, sent.address), sent.identity_id
        expected = submission.identity is None or submission.identity.id == account
        provable = expected and _named(submission, sent.address)

        async def check() -> bool:
            right = self._codes.matches(sent, typed)
            # Counted after the throttle was asked: an attempt that it refuses uses up none of the flow's.
            if not (right and provable) and not await submission.count_attempt(self._max_submissions):
                raise NoAttemptLeft
            return right

        attempt = CredentialAttempt(
            CODE,
            None,
            name=sent.address,
            client=submission.client,
            provable=provable,
            own_secret=True,
            known_id=account,
        )
        await self._guard.judge_secret(unit, attempt, check)
        if account is None:
            raise InvalidCredentials  # a code for no account matches nothing
        return Proof(
            account,
            CODE,
            Aal.AAL1,
            still_valid=lambda now: self._is_proven(now, address, submission),
            verified=(address,),
            takes_over=submission.identity is None,
            attempt=LastAttempt(self._max_submissions, StartOver((message(4010008),))),
        )

    async def _find(self, unit: Unit, address: str) -> Identity | None:
        """The identity that a code at this address may prove.

        An account that is older than the schema's mark for codes has no credential of this type yet; it is found by the
        address.
        """
        names = UniqueNames.of(identifiers=[(CODE, address)], addresses=[(Via.EMAIL, address)])
        return await self._identities.find_owner(unit, names)

    def _may_prove(self, found: Identity | None, address: Address, submission: MethodInput) -> bool:
        """Whether a code at this address proves the account; where the flow is for one account, only that one.

        A deactivated account is signed in by no code, so that none is sent.
        """
        expected = submission.identity is None or (found is not None and found.id == submission.identity.id)
        return found is not None and found.active and expected and self._is_proven(found, address, submission)

    def _is_proven(self, identity: Identity, address: Address, submission: MethodInput) -> bool:
        """Return whether a code at this address proves the account.

        Without a session, an address that was never verified proves nothing beside one that was.
        """
        known = submission.identity is not None or not identity.outranked(*address)
        return known and address in self._addresses(identity)

    def _addresses(self, identity: Identity | None) -> Sequence[Address]:
        """The addresses of an identity that codes are sent to: the traits that its schema marks so today."""
        if identity is None:
            return ()
        schema = self._identities.schemas.require(identity.schema_id)
        return _code_addresses(schema.extract(identity.traits))

    # -- registering ---------------------------------------------------------------------------------------------------

    async def registration_form(self, unit: Unit, view: MethodView) -> Form:
        """See `RegistrationMethod`."""
        return Form((nodes.send_button(1040006),))

    def missing(self, submitted: Mapping[str, Any]) -> Sequence[FieldError]:
        """See `RegistrationMethod`. The code is not missing: it has to be sent first."""
        return ()

    async def submit_registration(self, unit: Unit, input: MethodInput) -> Ask | StartOver | Enrolment:  # noqa: A002
        """See `RegistrationMethod`. Send codes to the addresses of the traits, or check one of them.

        The addresses are those that codes were sent to: other ones in the traits of the second submission are refused
        (4000036). Only the address whose code was given counts as verified.
        """
        traits = require_traits(input)
        typed, sent = _typed(input), [SentCode.from_context(stored) for stored in input.context.get("sent", ())]
        if typed is None or not sent:
            return await self._send_registration_codes(unit, input, traits.extracted)
        if {*_mailable(_code_addresses(traits.extracted))} != {(code.via, code.address) for code in sent}:
            raise SubmissionRejected(message(4000036))
        _require_filled(typed)
        too_many = StartOver((message(4040003),))
        proven = [(code.via, code.address) for code in sent if self._codes.matches(code, typed)]
        if not proven:
            if not await input.count_attempt(self._max_submissions):
                return too_many
            await self._guard.record_failed_registration(unit, method=CODE, client=input.client)
            form = Form(nodes.registration_wrong(native=input.native), input.context, "form")
            return Ask(form, state=SENT, messages=(message(4040003),))
        last = LastAttempt(self._max_submissions, too_many)
        return Enrolment(traits.values, (), method=CODE, verified=proven, attempt=last)

    async def _send_registration_codes(self, unit: Unit, submission: MethodInput, extracted: Extracted) -> Ask:
        addresses = _mailable(_code_addresses(extracted))
        if not addresses:
            raise SubmissionRejected(message(4000009))
        for _, address in addresses:
            await self._mails.spend(unit, CodeRequest("registration", address, submission.client))
        mails = [await self._registration_mail(unit, address, extracted, submission) for address in addresses]
        return Ask(
            Form(nodes.registration_sent(native=submission.native), _context(*(sent for sent, _ in mails)), "form"),
            state=SENT,
            messages=(message(1040005),),
            transient_payload={},
            effect=_all_of([effect for _, effect in mails]),
        )

    async def _registration_mail(
        self, unit: Unit, address: Address, extracted: Extracted, submission: MethodInput
    ) -> tuple[SentCode, Effect]:
        """Return the code for an address and its mail. The owner of a taken address gets a mail about the attempt
        instead, once an hour. The cache is asked the same of every address, so that the time reveals nothing."""
        (via, value), locale = address, submission.locale
        request = CodeRequest("registration", value, submission.client)
        owner, notified = await self._owner(unit, address, extracted), await self._notices.was_sent(value)
        if owner is not None and self._mitigate:
            mail = self._mails.mail(
                request,
                "sign_up_attempt",
                context=submission.mail_values(owner),
                locale=owner.locale or locale,
                account=owner.id,
                withheld="notified_before" if notified else None,
            )
            unusable = self._codes.issue_unusable(via=via, address=value)
            return unusable.sent, _all_of((mail, _after_commit(lambda: self._notices.remember(value))))
        issued = self._codes.issue(via=via, address=value, until=submission.expires_at)
        context = {
            **submission.mail_values(None),
            "traits": require_traits(submission).values,
            "code": issued.code,
            "expires_in_minutes": self._codes.minutes_left(issued.sent),
        }
        mail = self._mails.mail(request, "registration_code_valid", context=context, locale=locale)
        return issued.sent, _all_of((mail, _after_commit(lambda: self._notices.look_up(value))))

    async def _owner(self, unit: Unit, address: Address, extracted: Extracted) -> Identity | None:
        """Return the account that has the address. The work does not depend on the answer.

        Without mitigation the code is sent anyway, as in Kratos: creating the identity finds the conflict.
        """
        _, value = address
        types = [type_ for type_, names in extracted.identifiers.items() if value in names]
        names = UniqueNames.of(identifiers=[(type_, value) for type_ in types], addresses=[address])
        return await self._identities.find_owner(unit, names)


class NoAttemptLeft(Exception):
    """The flow has taken all the codes that it may."""


def _typed(submission: MethodInput) -> str | None:
    """Return the submitted code; None where a code is asked for: no field, or the button that sends another one.

    Raises `SubmissionRejected` for anything but text, before an attempt is counted.
    """
    typed = submission.submitted.get(CODE)
    if typed is None or submission.submitted.get("resend"):
        return None
    if not isinstance(typed, str):  # a JSON number has lost its leading zeros
        actual = _JSON_TYPES.get(type(typed), "object")
        wrong = message(4000026, allowed_types=["string"], actual_type=actual)
        raise SubmissionRejected(fields=[FieldError(CODE, wrong)])
    return typed


def _require_filled(typed: str) -> None:
    if not typed.strip():
        raise SubmissionRejected(fields=[FieldError(CODE, message(4000002, property=CODE))])


def _require_address(submission: MethodInput) -> str:
    """Return the address to send a code to, normalised: the pressed button's, the field's, or that of the last code.

    Raises `SubmissionRejected` where it is no e-mail address: no account with such an identifier gets a code.
    """
    last = [stored["address"] for stored in submission.context.get("sent", ())]
    texts = (submission.text("address"), submission.text("identifier"), *last)
    given = next((text for text in texts if text and text.strip()), "")
    if len(given) > LONGEST:
        raise _at_identifier(message(4000017, max_length=LONGEST, actual_length=len(given)))
    address = normalise_identifier(given)
    if not address:
        raise _at_identifier(message(4000002, property="identifier"))
    if not is_email(address):
        raise _at_identifier(message(4000040, value=given))
    return address


def _at_identifier(wrong: Message) -> SubmissionRejected:
    return SubmissionRejected(fields=[FieldError("identifier", wrong)])


def _named(submission: MethodInput, address: str) -> bool:
    """Return whether the identifier sent with a code is the address that the code went to; it may be left out."""
    given = submission.text("identifier")
    return not given or (len(given) <= LONGEST and normalise_identifier(given) == address)


def _code_addresses(extracted: Extracted) -> Sequence[Address]:
    """Return the addresses in the traits that the schema marks for codes."""
    return extracted.addresses.get(CODE, ())


def _config(addresses: Sequence[Address]) -> Mapping[str, Any]:
    """Return the stored config of the credential, in the form of the contract (contract page 4.2)."""
    entries = [{"channel": via.value, "address": value} for via, value in addresses]
    return {"addresses": entries} if entries else {}


def _mailable(addresses: Iterable[Address]) -> Sequence[Address]:
    """Return the addresses that we can send to: mailboxes. There is no channel for text messages yet."""
    return [(via, value) for via, value in addresses if via is Via.EMAIL]


def _context(*sent: SentCode) -> Mapping[str, Any]:
    return {"sent": [code.to_context() for code in sent]}


def _all_of(effects: Sequence[Effect]) -> Effect:
    async def run(unit: Unit) -> None:
        for effect in effects:
            await effect(unit)

    return run


def _after_commit(act: Callable[[], Awaitable[None]]) -> Effect:
    async def run(unit: Unit) -> None:
        unit.after_commit(act)

    return run
