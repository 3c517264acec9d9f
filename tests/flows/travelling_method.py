# ruff: noqa: A002 - `input` is the word of the protocol
"""A credential method that redirects to another server, and that server: to test what each step means in a callback.

The provider is a real HTTP server. It sends the browser back with a `code`. When the method asks about that code, the
provider answers with the step that the test has chosen.
"""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

import httpx2

from shopkeeper import crypto
from shopkeeper.credentials.method import MethodInput, MethodView
from shopkeeper.credentials.steps import (
    AnyStep,
    Ask,
    CredentialChange,
    Effect,
    Enrolment,
    FieldError,
    Form,
    LinkOffer,
    NewCredential,
    Proof,
    Redirect,
    StartOver,
    Step,
    SubmissionRejected,
)
from shopkeeper.errors import UpstreamFailed
from shopkeeper.http_client import GuardedClient
from shopkeeper.identity.facts import CredentialFacts
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Aal, Identity, Via
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import Node, input_node, submit_node
from tests.services.web import Server, says, serving

TRAVEL: Final = "travel"
PROVIDER: Final = "harbour"
LABEL: Final = "The Harbour"
GUESSES: Final = 3
_CODE = re.compile(r"[0-9a-f]{32}")


class Travelling:
    """Signs in, registers and enrols by asking the provider at `provider_url`."""

    name = TRAVEL
    facts = CredentialFacts(TRAVEL, first_factor=True, removable=True)
    aals = frozenset({Aal.AAL1, Aal.AAL2})
    brings_traits = True

    def __init__(self, identities: Identities, *, http: GuardedClient, provider_url: str) -> None:
        self._identities = identities
        self._http = http
        self._provider_url = provider_url
        self.effect: Effect | None = None
        """The effect of the next steps."""
        self.before_step: Callable[[], Awaitable[None]] | None = None
        """Awaited before a submission or a callback is answered."""
        self.guesses = GUESSES
        self.received: list[MethodInput] = []
        """What registrations and callbacks were called with."""

    async def login_form(self, unit: Unit, view: MethodView) -> Form:
        return Form((_button(),), context={"offered": True}, identifier="none")

    async def registration_form(self, unit: Unit, view: MethodView) -> Form:
        return Form((_button(1040003 if "told" in view.context else 1070009),))

    async def settings_form(self, unit: Unit, view: MethodView) -> Form:
        linked = _subject(view.identity)
        shown = input_node("linked", "text", group=TRAVEL, value=linked) if linked else None
        return Form([node for node in (shown, _button()) if node is not None])

    def linked_to(self, identity: Identity, enrolled: NewCredential) -> NewCredential:
        if _subject(identity) is not None:
            raise SubmissionRejected(message(4000006))
        return enrolled

    def confirm_form(self, owner: Identity | None, *, enrolled: NewCredential) -> Form:
        button = input_node("provider", "submit", group=TRAVEL, value=PROVIDER, label=message(1010018, provider=LABEL))
        proves = owner is not None and _subject(owner) is not None
        return Form((button,) if proves else (), leads=True)

    def missing(self, submitted: Mapping[str, Any]) -> Sequence[FieldError]:
        return ()

    async def submit_login(self, unit: Unit, input: MethodInput) -> Step:
        if self.before_step is not None:
            await self.before_step()
        if "word" in input.context:
            return await self._judge(unit, input)
        return self._leave(input)

    async def submit_registration(self, unit: Unit, input: MethodInput) -> Redirect | Enrolment:
        self.received.append(input)
        if "told" not in input.context:
            return self._leave(input)
        told = input.context["told"]
        typed = input.traits.values if input.traits is not None else {}
        return await self._enrolment(unit, input, {**told, "traits": {**told.get("traits", {}), **typed}})

    async def submit_settings(self, unit: Unit, input: MethodInput) -> Redirect:
        return self._leave(input)

    async def callback(self, unit: Unit, input: MethodInput) -> AnyStep:
        self.received.append(input)
        if self.before_step is not None:
            await self.before_step()
        code = input.query.get("code", "")
        if not _CODE.fullmatch(code):
            raise SubmissionRejected(message(4000006))
        reply = await self._http.request("GET", f"{self._provider_url}/answers/{code}")
        if not reply.ok:
            raise UpstreamFailed("The harbour does not know this code.")
        told = json.loads(reply.body)
        return await _ANSWERS[told["step"]](self, unit, input, told)

    def _leave(self, input: MethodInput) -> Redirect:
        assert input.callback is not None
        query = urlencode({"redirect_uri": input.callback.url, "state": input.callback.state})
        # The verifier stands for what must not be stored as it is: only its digest is kept.
        verifier = crypto.digest(crypto.new_token("")).hex()
        return Redirect(f"{self._provider_url}/authorize?{query}", {"verifier": verifier})

    async def _judge(self, unit: Unit, input: MethodInput) -> Step:
        """Judge the word that was asked for, sent with the form of an `Ask`."""
        if not await input.count_attempt(self.guesses):
            return StartOver((message(4010008),))
        if crypto.digest(input.text("word") or "").hex() != input.context["word"]:
            return Ask(_word_form(input.context), messages=(message(4010008),), effect=self.effect)
        return await self._proof(unit, input, {"subject": input.context["subject"]})

    # -- what the provider may answer ----------------------------------------------------------------------------------

    async def _proof(self, unit: Unit, input: MethodInput, told: Mapping[str, Any]) -> Proof:
        subject = told["subject"]
        found = await self._identities.find_by_identifier(unit, type=TRAVEL, identifier=subject)
        if found is None:
            raise SubmissionRejected(message(4000006))
        return Proof(
            found.id,
            TRAVEL,
            input.requested_aal,
            still_valid=lambda now: _subject(now) == subject,
            provider=PROVIDER,
            effect=self.effect,
        )

    async def _arrive(self, unit: Unit, input: MethodInput, told: Mapping[str, Any]) -> Proof | Enrolment:
        """Sign in where the subject is known, register where it is not."""
        known = await self._identities.find_by_identifier(unit, type=TRAVEL, identifier=told["subject"])
        return await (self._enrolment if known is None else self._proof)(unit, input, told)  # type: ignore[operator]

    async def _ask(self, unit: Unit, input: MethodInput, told: Mapping[str, Any]) -> Ask:
        context = {"word": crypto.digest(told["word"]).hex(), "subject": told["subject"]}
        return Ask(_word_form(context), messages=(message(1010014),), status=200, transient_payload={})

    async def _redirect(self, unit: Unit, input: MethodInput, told: Mapping[str, Any]) -> Redirect:
        return self._leave(input)

    async def _start_over(self, unit: Unit, input: MethodInput, told: Mapping[str, Any]) -> StartOver:
        return StartOver((message(4010008),))

    async def _enrolment(self, unit: Unit, input: MethodInput, told: Mapping[str, Any]) -> Enrolment:
        traits = told.get("traits", {"email": told.get("email", f"{told['subject']}@example.org")})
        return Enrolment(
            traits,
            (travel_credential(told["subject"]),),
            method=TRAVEL,
            verified=((Via.EMAIL, str(traits.get("email"))),) if told.get("verified", True) else (),
            provider=PROVIDER,
            effect=self.effect,
            link=LinkOffer(LABEL, automatic=told.get("automatic", False)) if told.get("links", True) else None,
            context={"told": dict(told)},
        )

    async def _change(self, unit: Unit, input: MethodInput, told: Mapping[str, Any]) -> CredentialChange:
        """Link a subject to the identity of the session, which proves it too; `None` unlinks."""
        subject, identity = told["subject"], input.identity
        assert identity is not None
        if subject is None:
            return CredentialChange({TRAVEL: None})
        proof = Proof(identity.id, TRAVEL, Aal.AAL2, still_valid=lambda now: now.active, provider=PROVIDER)
        return CredentialChange({TRAVEL: travel_credential(subject)}, proof=proof if told.get("proves", True) else None)

    async def _rejected(self, unit: Unit, input: MethodInput, told: Mapping[str, Any]) -> AnyStep:
        raise SubmissionRejected(message(4000006))

    async def _refusal(self, unit: Unit, input: MethodInput, told: Mapping[str, Any]) -> AnyStep:
        raise UpstreamFailed("The harbour is closed.")


_ANSWERS: Final[Mapping[str, Callable[..., Awaitable[AnyStep]]]] = {
    "proof": Travelling._proof,
    "arrive": Travelling._arrive,
    "ask": Travelling._ask,
    "redirect": Travelling._redirect,
    "start_over": Travelling._start_over,
    "enrolment": Travelling._enrolment,
    "change": Travelling._change,
    "rejected": Travelling._rejected,
    "refusal": Travelling._refusal,
}


def _button(label: int = 1070009) -> Node:
    return submit_node(TRAVEL, label=message(label))


def _word_form(context: Mapping[str, Any]) -> Form:
    return Form((input_node("word", "text", group=TRAVEL, required=True), _button()), context)


def travel_credential(subject: str) -> NewCredential:
    return NewCredential(TRAVEL, {"subject": subject}, (subject,))


def _subject(identity: Identity | None) -> str | None:
    credential = identity.credentials.get(TRAVEL) if identity is not None else None
    return credential.config.get("subject") if credential is not None else None


@dataclass
class Provider:
    """The other server. It remembers its requests, and answers as the test has set.

    Args:
        next_answer: the document for the next browser that comes to it.
    """

    server: Server
    next_answer: Mapping[str, Any] = field(default_factory=dict)
    visits: list[Mapping[str, str]] = field(default_factory=list)
    posts: bool = False
    """Whether browsers come back by a form that is posted, as from Apple."""

    @property
    def url(self) -> str:
        return self.server.url("").rstrip("/")

    @property
    def questions(self) -> int:
        """How often the method has asked about a code."""
        return sum(head.startswith("GET /answers/") for head in self.server.heads)

    def says(self, step: str, **more: Any) -> None:
        """Set what the next browser is sent back with."""
        self.next_answer = {"step": step, **more}

    async def authorize(self, writer: Any) -> None:
        query = dict(parse_qsl(urlsplit(self.server.heads[-1].split()[1]).query))
        self.visits.append(query)
        code = uuid4().hex
        self.server.answers[f"/answers/{code}"] = says(json.dumps(self.next_answer).encode())
        told = {"code": code, "state": query["state"]}
        if self.posts:
            await says(_posting(query["redirect_uri"], told), Content_Type="text/html")(writer)
            return
        back = f"{query['redirect_uri']}?{urlencode(told)}"
        await says(b"", status="302 Found", Location=back)(writer)

    async def send_back(self, url: str) -> str:
        """Go where the shop has sent the browser; return the address that the provider redirects it back to."""
        async with httpx2.AsyncClient() as visitor:
            answer = await visitor.get(url)
        assert answer.status_code == 302, answer.text
        return str(answer.headers["location"])


def _posting(url: str, fields: Mapping[str, str]) -> bytes:
    """Return a page whose button posts the fields (OAuth 2.0 Form Post Response Mode)."""
    hidden = "".join(f'<input type="hidden" name="{name}" value="{value}">' for name, value in fields.items())
    form = f'<form method="post" action="{url}">{hidden}<button>Back to the shop</button></form>'
    return f"<!doctype html>{form}".encode()


@asynccontextmanager
async def open_provider() -> AsyncIterator[Provider]:
    """Run a provider for the length of the block."""
    async with serving("127.0.0.1") as server:
        provider = Provider(server)
        server.answers["/authorize"] = provider.authorize
        yield provider
