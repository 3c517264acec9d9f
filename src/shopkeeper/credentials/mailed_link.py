"""Recovery and verification by link (`link`).

A mailed link is followed without the browser's cookies, perhaps on another device, so it carries a token of its own.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

from shopkeeper.credentials import mailed_nodes as nodes
from shopkeeper.credentials.by_mail import SENT, WRONG, ByMail, MailedFlow, Recipient
from shopkeeper.credentials.link_tokens import LinkTokens, SentLink
from shopkeeper.credentials.mailed_nodes import LINK
from shopkeeper.credentials.method import MethodInput, MethodView
from shopkeeper.credentials.steps import Ask, Form, Proof, StartOver, Verified
from shopkeeper.identity.facts import CredentialFacts
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import csrf_node

_SENT: Final = {MailedFlow.RECOVERY: 1060002, MailedFlow.VERIFICATION: 1080001}


class MailedLink:
    """A link in a mail recovers an account, or verifies its address."""

    name = LINK
    facts = CredentialFacts(LINK)

    def __init__(self, by_mail: ByMail, *, tokens: LinkTokens) -> None:
        self._by_mail = by_mail
        self._tokens = tokens

    async def recovery_form(self, unit: Unit, view: MethodView) -> Form:
        """See `RecoveryMethod`."""
        return Form((csrf_node(), *nodes.ask_address(LINK)), scope="form")

    async def verification_form(self, unit: Unit, view: MethodView) -> Form:
        """See `VerificationMethod`."""
        return Form((csrf_node(), *nodes.ask_address(LINK)), scope="form")

    async def submit_recovery(self, unit: Unit, input: MethodInput) -> Proof | Ask | StartOver:  # noqa: A002
        """See `RecoveryMethod`."""
        token = input.query.get("token")
        if token is None:
            return await self._asked(unit, MailedFlow.RECOVERY, input)
        sent = self._followed(input, token)
        if sent is None or sent.identity_id is None:
            return StartOver((message(WRONG[MailedFlow.RECOVERY, LINK]),), keeps_flow=True)
        return self._by_mail.recovered(LINK, sent.identity_id, sent.address, sent_at=sent.issued_at)

    async def submit_verification(self, unit: Unit, input: MethodInput) -> Verified | Ask | StartOver:  # noqa: A002
        """See `VerificationMethod`."""
        token = input.query.get("token")
        if token is None:
            return await self._asked(unit, MailedFlow.VERIFICATION, input)
        sent = self._followed(input, token)
        if sent is None or sent.identity_id is None:
            return StartOver((message(WRONG[MailedFlow.VERIFICATION, LINK]),), keeps_flow=True)
        return self._by_mail.verified(LINK, sent.identity_id, sent.address)

    def start_verification(self, view: MethodView, recipient: Recipient) -> Ask:
        """See `MailedCode.start_verification`."""
        return self._sent(MailedFlow.VERIFICATION, view, recipient)

    def hand_out(self, identity_id: UUID, *, until: datetime) -> tuple[str, Form]:
        """Return the token of a link that an operator hands out, and the form of its flow, which asks for nothing."""
        token, sent = self._tokens.issue(address="", identity_id=identity_id, until=until, exactly=True)
        return token, Form((), {"sent": sent.to_context()}, "form")

    async def _asked(self, unit: Unit, flow: MailedFlow, submission: MethodInput) -> Ask:
        return self._sent(flow, submission, await self._by_mail.recipient(unit, flow, submission))

    def _sent(self, flow: MailedFlow, view: MethodView, recipient: Recipient) -> Ask:
        token, sent = self._tokens.issue(
            address=recipient.address, identity_id=recipient.identity_id, until=view.expires_at
        )
        url = self._by_mail.link(flow, view, token=token)
        effect = self._by_mail.mail(
            flow,
            f"{flow.value}_valid",
            recipient,
            view,
            context={f"{flow.value}_url": url},
            expires_at=sent.expires_at,
        )
        form = Form(
            (csrf_node(), *nodes.ask_address(LINK, address=recipient.address)), {"sent": sent.to_context()}, "form"
        )
        return Ask(
            form,
            state=SENT,
            messages=(message(_SENT[flow]),),
            status=200,
            transient_payload={} if flow is MailedFlow.RECOVERY else None,
            effect=effect,
        )

    def has_mailed(self, view: MethodView, secret: str) -> bool:
        """See `VerificationMethod`."""
        return self._followed(view, secret) is not None

    def _followed(self, submission: MethodView, token: str) -> SentLink | None:
        """Return the link that was sent in this flow if this is its token."""
        stored = submission.context.get("sent")
        sent = SentLink.from_context(stored) if stored else None
        return sent if sent is not None and self._tokens.matches(sent, token) else None
