"""Recovery and verification by one-time code (`code`)."""

from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from shopkeeper.credentials import mailed_nodes as nodes
from shopkeeper.credentials.attempts import AttemptGuard, CredentialAttempt
from shopkeeper.credentials.by_mail import SENT, WRONG, ByMail, MailedFlow, Recipient, asks_for_mail
from shopkeeper.credentials.code import CODE, Code, NoAttemptLeft
from shopkeeper.credentials.method import MethodInput, MethodView
from shopkeeper.credentials.one_time_codes import OneTimeCodes, SentCode
from shopkeeper.credentials.steps import (
    Ask,
    Effect,
    FieldError,
    Form,
    LastAttempt,
    Proof,
    StartOver,
    SubmissionRejected,
    Verified,
)
from shopkeeper.errors import InvalidCredentials
from shopkeeper.identity.values import Via
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import Node, csrf_node

_SENT: Final = {MailedFlow.RECOVERY: 1060003, MailedFlow.VERIFICATION: 1080003}


class MailedCode:
    """A code in a mail recovers an account, or verifies its address.

    Args:
        codes: issues and checks codes; their key is not in the database.
        guard: counts guesses for the address that the code went to, over all flows, and records wrong ones.
        max_submissions: how many codes may be tried in one flow.
    """

    name = CODE
    facts = Code.facts

    def __init__(self, by_mail: ByMail, *, codes: OneTimeCodes, guard: AttemptGuard, max_submissions: int) -> None:
        self._by_mail = by_mail
        self._codes = codes
        self._guard = guard
        self._max_submissions = max_submissions

    async def recovery_form(self, unit: Unit, view: MethodView) -> Form:
        """See `RecoveryMethod`."""
        return Form((csrf_node(), *nodes.ask_address(CODE)), scope="form")

    async def verification_form(self, unit: Unit, view: MethodView) -> Form:
        """See `VerificationMethod`."""
        csrf = () if view.native else (csrf_node(),)
        return Form((*nodes.ask_address(CODE), *csrf), scope="form")

    async def submit_recovery(self, unit: Unit, input: MethodInput) -> Proof | Ask | StartOver:  # noqa: A002
        """See `RecoveryMethod`."""
        judged = await self._judged(unit, MailedFlow.RECOVERY, input)
        if not isinstance(judged, SentCode) or judged.identity_id is None:
            return judged if not isinstance(judged, SentCode) else self._wrong(MailedFlow.RECOVERY, input)
        last = LastAttempt(self._max_submissions, StartOver((message(WRONG[MailedFlow.RECOVERY, CODE]),)))
        return self._by_mail.recovered(CODE, judged.identity_id, judged.address, sent_at=judged.issued_at, attempt=last)

    async def submit_verification(self, unit: Unit, input: MethodInput) -> Verified | Ask | StartOver:  # noqa: A002
        """See `VerificationMethod`."""
        judged = await self._judged(unit, MailedFlow.VERIFICATION, input)
        if not isinstance(judged, SentCode) or judged.identity_id is None:
            return judged if not isinstance(judged, SentCode) else self._wrong(MailedFlow.VERIFICATION, input)
        return self._by_mail.verified(CODE, judged.identity_id, judged.address)

    def start_verification(self, view: MethodView, recipient: Recipient) -> Ask:
        """Return the form after a code was sent, whose effect queues the mail. It spends no budget: it belongs to
        something else that has one."""
        return self._sent(MailedFlow.VERIFICATION, view, recipient)

    def has_mailed(self, view: MethodView, secret: str) -> bool:
        """See `VerificationMethod`."""
        return any(sent.identity_id is not None and self._codes.matches(sent, secret) for sent in _sent_codes(view))

    def asking_for_code(self, view: MethodView) -> Form:
        """Return the form that asks for the code that was sent, for who follows its link. The link's code is not
        judged: following a link spends nothing."""
        [sent] = _sent_codes(view)
        return Form(nodes.verification_code(sent.address, native=view.native), view.context, "form")

    def hand_out(self, identity_id: UUID, *, until: datetime) -> tuple[str, Form]:
        """Return a code that an operator hands out, and the form that asks for it. It belongs to no address, so that no
        other one can be sent in its flow."""
        issued = self._codes.issue(via=Via.EMAIL, address="", identity_id=identity_id)
        sent = replace(issued.sent, expires_at=until)
        return issued.code, Form(nodes.recovery_code(""), {"sent": [sent.to_context()]}, "form")

    def has_sent(self, view: MethodView) -> bool:
        """Return whether a code was sent in this flow."""
        return bool(_sent_codes(view))

    async def _judged(self, unit: Unit, flow: MailedFlow, submission: MethodInput) -> SentCode | Ask | StartOver:
        """Return the code that was typed if it is right, else the next step."""
        sent = _sent_codes(submission)
        handed_out = bool(sent) and not sent[0].address
        if not handed_out and (asks_for_mail(submission) or not sent):
            return self._sent(flow, submission, await self._by_mail.recipient(unit, flow, submission))
        typed = submission.submitted.get(CODE)
        if not isinstance(typed, str) or not typed.strip():
            raise SubmissionRejected(fields=[FieldError(CODE, message(4000002, property=CODE))])
        try:
            await self._judge(unit, flow, submission, sent[0], typed)
        except NoAttemptLeft:
            return StartOver((message(WRONG[flow, CODE]),))
        except InvalidCredentials:
            return self._wrong(flow, submission)
        return sent[0]

    async def _judge(self, unit: Unit, flow: MailedFlow, submission: MethodInput, sent: SentCode, typed: str) -> None:
        """Return where the code is right. Raises `InvalidCredentials`, `TooManyRequests` or `NoAttemptLeft`.

        It is counted for the address that the code went to, whether that has an account or not; a code that an operator
        has handed out, which belongs to no address, for the account.
        """
        attempt = CredentialAttempt(
            CODE,
            None,
            name=sent.address or str(sent.identity_id),
            client=submission.client,
            own_secret=True,
            flow=flow.value,
            known_id=sent.identity_id,
        )

        async def check() -> bool:
            right = self._codes.matches(sent, typed)
            counted_later = right and flow is MailedFlow.RECOVERY
            # Counted after the throttle was asked: an attempt that it refuses uses up none of the flow's.
            if not counted_later and not await submission.count_attempt(self._max_submissions):
                raise NoAttemptLeft
            return right

        await self._guard.judge_secret(unit, attempt, check)

    def _sent(self, flow: MailedFlow, view: MethodView, recipient: Recipient) -> Ask:
        known = recipient.identity_id
        issued = (
            self._codes.issue(via=Via.EMAIL, address=recipient.address, identity_id=known, until=view.expires_at)
            if known is not None
            else self._codes.issue_unusable(via=Via.EMAIL, address=recipient.address)
        )
        context = {"code": issued.code}
        if flow is MailedFlow.VERIFICATION:
            context["verification_url"] = self._by_mail.link(flow, view, code=issued.code)
        effect: Effect = self._by_mail.mail(
            flow, f"{flow.value}_code_valid", recipient, view, context=context, expires_at=issued.sent.expires_at
        )
        return Ask(
            Form(_nodes(flow, view, recipient.address), {"sent": [issued.sent.to_context()]}, "form"),
            state=SENT,
            messages=(message(_SENT[flow]),),
            status=200,
            transient_payload={} if flow is MailedFlow.RECOVERY else None,
            effect=effect,
        )

    def _wrong(self, flow: MailedFlow, submission: MethodInput) -> Ask:
        """Return the form after a wrong code, which the contract answers with 200."""
        [sent] = _sent_codes(submission)
        form = Form(_nodes(flow, submission, sent.address), submission.context, "form")
        return Ask(form, state=SENT, messages=(message(WRONG[flow, CODE]),), status=200, transient_payload={})


def _sent_codes(view: MethodView) -> list[SentCode]:
    return [SentCode.from_context(stored) for stored in view.context.get("sent", ())]


def _nodes(flow: MailedFlow, view: MethodView, address: str) -> tuple[Node, ...]:
    if flow is MailedFlow.RECOVERY:
        return tuple(nodes.recovery_code(address))
    return tuple(nodes.verification_code(address, native=view.native))
