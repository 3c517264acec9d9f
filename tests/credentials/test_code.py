"""One-time codes at the level of the method: real databases, the real courier, throttles and guard.

`Talk` does what the pipeline does with a method: it passes on the method's context, shows its nodes and commits the
effects of its steps.
"""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import delete
from structlog.testing import capture_logs

from shopkeeper.client import Client
from shopkeeper.clock import StoppedClock
from shopkeeper.credentials.attempts import AttemptGuard, CredentialAttempt
from shopkeeper.credentials.code import Code
from shopkeeper.credentials.code_mails import CodeMails
from shopkeeper.credentials.method import LoginMethod, MethodInput, MethodView, RegistrationMethod, Traits
from shopkeeper.credentials.one_time_codes import OneTimeCodes
from shopkeeper.credentials.steps import AnyStep, Ask, Enrolment, Proof, StartOver, SubmissionRejected
from shopkeeper.errors import InvalidCredentials, TooManyRequests
from shopkeeper.identity.builder import NewIdentity
from shopkeeper.identity.facts import types_from_traits
from shopkeeper.identity.schema import Schema, Schemas
from shopkeeper.identity.service import Identities
from shopkeeper.identity.store import credentials
from shopkeeper.identity.values import Aal, Identity, Via
from shopkeeper.notify.channels import InboxChannel
from shopkeeper.notify.courier import Courier
from shopkeeper.notify.sign_up_notices import SignUpNotices
from shopkeeper.notify.templates import MailTemplates
from shopkeeper.notify.values import CourierMessage
from shopkeeper.storage.audit import Audit, AuditEvent
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import CacheDown
from shopkeeper.storage.database import Database
from shopkeeper.storage.outbox import Outbox
from shopkeeper.throttle import Throttle
from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import Node, csrf_node, input_node, submit_node
from tests.flows.conftest import Staging

ADA, BEA, UNKNOWN = "ada@example.org", "bea@example.org", "nobody@example.org"
CLIENT = Client(ip="203.0.113.7")
LIFESPAN = timedelta(minutes=10)
MAX_SUBMISSIONS, FAILURES, PER_RECIPIENT = 3, 50, 4
WRONG_LOGIN, WRONG_REGISTRATION = 4010008, 4040003
FACTS = {"code": Code.facts}
SIX_DIGITS = re.compile(r"\b\d{6}\b")

# For tests that do not reach the database, and for tables of inputs, where fresh databases for each row take long.
on_sqlite = pytest.mark.parametrize("dsn", ["sqlite"], indirect=True)


def _address_trait(**more: Any) -> Mapping[str, Any]:
    marks = {"credentials": {"code": {"identifier": True, "via": "email"}}, "verification": {"via": "email"}}
    return {"type": "string", "format": "email", "ory.sh/kratos": marks, **more}


SCHEMA: Mapping[str, Any] = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {
        "traits": {
            "type": "object",
            "properties": {
                "email": _address_trait(),
                "others": {"type": "array", "items": _address_trait()},
                "phone": {
                    "type": "string",
                    "ory.sh/kratos": {"credentials": {"code": {"identifier": True, "via": "sms"}}},
                },
                "name": {"type": "object", "properties": {"first": {"type": "string"}}},
                "newsletter": {"type": "boolean"},
            },
        }
    },
}


@dataclass
class Talk:
    """One flow of a client with the method."""

    world: "World"
    native: bool = False
    identity: Identity | None = None
    client: Client = CLIENT
    shown: Sequence[Node] = field(default_factory=lambda: (csrf_node(), _identifier()))
    context: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 0
    expires_at: datetime | None = None

    async def login(self, **submitted: Any) -> AnyStep:
        """Submit the login form; return the step, once its effect is committed. A code is written as {code}."""
        async with self.world.database.unit() as unit:
            step = await self.world.method.submit_login(unit, self._input(submitted))
        return await self._take(step)

    async def register(self, traits: Mapping[str, Any], **submitted: Any) -> AnyStep:
        """Submit the registration form."""
        schema = self.world.schema
        known = Traits(schema.id, traits, schema.extract(traits))
        async with self.world.database.unit() as unit:
            submission = replace(self._input({"traits": traits, **submitted}), traits=known)
            step = await self.world.method.submit_registration(unit, submission)
        return await self._take(step)

    def _input(self, submitted: Mapping[str, Any]) -> MethodInput:
        return MethodInput(
            client=self.client,
            context=self.context,
            refresh=self.identity is not None,
            identity=self.identity,
            native=self.native,
            submitted={"method": "code", **submitted},
            shown=self.shown,
            count_attempt=self._count,
            expires_at=self.expires_at,
        )

    async def _count(self, most: int) -> bool:
        if self.attempts >= most:
            return False
        self.attempts += 1
        return True

    async def _take(self, step: AnyStep) -> AnyStep:
        last = getattr(step, "attempt", None)
        if last is not None and not await self._count(last.most):
            step = last.too_many  # as the dispatcher takes it where the flow ends
        effect = getattr(step, "effect", None)
        if effect is not None:
            async with self.world.database.unit() as unit:
                await effect(unit)
        if isinstance(step, Ask):
            self.context = json.loads(json.dumps(step.form.context))
            self.shown = step.form.nodes
        return step


@dataclass(frozen=True)
class World:
    """The method with all its dependencies, which are real."""

    database: Database
    clock: StoppedClock
    schema: Schema
    identities: Identities
    courier: Courier
    audit: Audit
    guard: AttemptGuard
    mails: CodeMails
    notices: SignUpNotices
    mitigate: bool = True
    key: bytes = b"c" * 32

    @property
    def method(self) -> Code:
        return Code(
            self.identities,
            codes=OneTimeCodes(key=self.key, clock=self.clock, lifespan=LIFESPAN),
            mails=self.mails,
            guard=self.guard,
            notices=self.notices,
            max_submissions=MAX_SUBMISSIONS,
            mitigate_enumeration=self.mitigate,
        )

    def talk(self, **more: Any) -> Talk:
        return Talk(self, **more)

    async def customer(self, email: str, **traits: Any) -> Identity:
        async with self.database.unit() as unit:
            created = await self.identities.create(unit, NewIdentity(traits={"email": email, **traits}))
        async with self.database.unit() as unit:
            return await self.identities.require(unit, created.id, credentials=True)

    async def mailbox(self, recipient: str | None = None) -> Sequence[CourierMessage]:
        """Return the queued mails, newest first."""
        async with self.database.unit() as unit:
            return (await self.courier.messages(unit, recipient=recipient)).items

    async def code(self, recipient: str) -> str:
        """Return the code in the newest mail to a recipient."""
        (mail, *_) = await self.mailbox(recipient)
        (code,) = SIX_DIGITS.findall(mail.subject)
        assert code in mail.body
        assert code in mail.html
        return str(code)

    async def failures(self, action: str = "sign_in.failed") -> Sequence[AuditEvent]:
        async with self.database.unit() as unit:
            return await self.audit.events(unit, action=action)


@pytest.fixture
def world(database: Database, clock: StoppedClock) -> World:
    schema = Schema("default", SCHEMA, from_traits=types_from_traits(FACTS))
    audit = Audit(clock, key=b"a" * 32)
    courier = Courier(
        MailTemplates(),
        Outbox(clock),
        InboxChannel(),
        database,
        clock=clock,
        base_url="https://shop.example/",
        shop_name="Corner",
    )
    login, per_client = _throttle(clock, "login", "1000/minute"), _throttle(clock, "code", "10/minute")
    recipients = _throttle(clock, "code_recipient", f"{PER_RECIPIENT}/hour")
    return World(
        database,
        clock,
        schema,
        Identities(Schemas([schema], "default"), facts=FACTS, clock=clock),
        courier,
        audit,
        AttemptGuard(throttle=login, audit=audit),
        CodeMails(
            courier,
            audit=audit,
            per_client=per_client,
            per_recipient=recipients,
            per_pair=_throttle(clock, "code_pair", f"{PER_RECIPIENT}/hour"),
        ),
        SignUpNotices(MemoryCache(clock)),
    )


def _throttle(clock: StoppedClock, name: str, per_ip: str) -> Throttle:
    return Throttle(
        MemoryCache(clock),
        spare=MemoryCache(clock),
        down=CacheDown,
        clock=clock,
        name=name,
        key=b"k" * 32,
        failures=FAILURES,
        block=timedelta(minutes=1),
        block_max=timedelta(minutes=15),
        per_ip=per_ip,
    )


def _identifier() -> Node:
    return input_node("identifier", "text", group="default", value="", required=True, label=message(1070004))


def other_than(code: str) -> str:
    """Return another code of six digits."""
    return f"{(int(code) + 1) % 1_000_000:06d}"


def asked(step: AnyStep) -> tuple[int, list[int]]:
    """Return the status and messages of an Ask."""
    assert isinstance(step, Ask)
    return step.status, [m.id for m in step.messages]


def told(rejected: pytest.ExceptionInfo[SubmissionRejected]) -> list[int | tuple[str, int]]:
    """Return the messages of a rejected submission: those above the form, and those at its fields."""
    at_fields = [(wrong.name, wrong.message.id) for wrong in rejected.value.fields]
    return [*(m.id for m in rejected.value.general), *at_fields]


class TestSignIn:
    async def test_the_code_in_the_mail_proves_the_account_and_the_address(self, world: World) -> None:
        ada, talk = await world.customer(ADA), world.talk()
        sent = await talk.login(identifier=ADA)
        assert asked(sent) == (400, [1010014])
        assert isinstance(sent, Ask)
        assert (sent.state, sent.transient_payload, sent.form.scope) == ("sent_email", {}, "form")
        proof = await talk.login(identifier=ADA, code=await world.code(ADA))
        assert isinstance(proof, Proof)
        assert (proof.identity_id, proof.method, proof.aal) == (ada.id, "code", Aal.AAL1)
        assert proof.verified == ((Via.EMAIL, ADA),)
        assert proof.still_valid(ada)

    @on_sqlite
    @pytest.mark.parametrize("spelled", ["  ADA@Example.ORG", "ada@example.org\u200b"])
    async def test_the_code_proves_an_address_in_any_spelling(self, world: World, spelled: str) -> None:
        ada, talk = await world.customer(ADA), world.talk()
        await talk.login(identifier=spelled)
        proof = await talk.login(identifier=spelled, code=await world.code(ADA))
        assert isinstance(proof, Proof)
        assert proof.identity_id == ada.id

    @on_sqlite
    async def test_white_space_in_the_code_and_a_missing_identifier_do_not_matter(self, world: World) -> None:
        await world.customer(ADA)
        talk = world.talk()
        await talk.login(identifier=ADA)
        code = await world.code(ADA)
        assert isinstance(await talk.login(code=f" {code[:3]} {code[3:]}\n"), Proof)

    async def test_a_wrong_code_asks_again_and_the_right_one_still_counts(self, world: World) -> None:
        await world.customer(ADA)
        talk = world.talk()
        await talk.login(identifier=ADA)
        code = await world.code(ADA)
        wrong = await talk.login(identifier=ADA, code=other_than(code))
        assert asked(wrong) == (400, [WRONG_LOGIN])
        assert isinstance(wrong, Ask)
        assert wrong.transient_payload is None
        assert isinstance(await talk.login(identifier=ADA, code=code), Proof)

    @on_sqlite
    @pytest.mark.parametrize("wrong", ["", "0", "12345", "1234567", "x" * 100_000, "\ud800", "١٢٣٤٥٦", "...", "abcdef"])
    async def test_malformed_codes_are_wrong_or_missing(self, world: World, wrong: Any) -> None:
        await world.customer(ADA)
        talk = world.talk()
        await talk.login(identifier=ADA)
        if wrong == "":
            with pytest.raises(SubmissionRejected) as rejected:
                await talk.login(identifier=ADA, code=wrong)
            assert told(rejected) == [("code", 4000002)]
        else:
            assert asked(await talk.login(identifier=ADA, code=wrong)) == (400, [WRONG_LOGIN])
        assert len(await world.mailbox(ADA)) == 1

    @on_sqlite
    @pytest.mark.parametrize("wrong", [7814, 7814.0, True, False, ["123456"], {"$ne": 1}, []])
    async def test_a_code_that_is_no_text_is_refused_and_costs_no_attempt(self, world: World, wrong: Any) -> None:
        await world.customer(ADA)
        talk, registering = world.talk(), world.talk()
        await talk.login(identifier=ADA)
        await registering.register({"email": BEA})
        with pytest.raises(SubmissionRejected) as rejected:
            await talk.login(identifier=ADA, code=wrong)
        assert told(rejected) == [("code", 4000026)]
        with pytest.raises(SubmissionRejected) as rejected:
            await registering.register({"email": BEA}, code=wrong)
        assert told(rejected) == [("code", 4000026)]
        assert (talk.attempts, registering.attempts, await world.failures()) == (0, 0, [])

    @on_sqlite
    @pytest.mark.parametrize("mitigate", [True, False])
    @pytest.mark.parametrize(
        "identifier", ["ada", "not an address", "ada@", "a@example.org,b@example.org", "+49 170 1"]
    )
    async def test_an_identifier_that_is_no_address_is_refused_at_its_field(
        self, world: World, identifier: str, mitigate: bool
    ) -> None:
        with pytest.raises(SubmissionRejected) as rejected:
            await replace(world, mitigate=mitigate).talk().login(identifier=identifier)
        assert told(rejected) == [("identifier", 4000040)]
        assert identifier in rejected.value.fields[0].message.text

    @on_sqlite
    @pytest.mark.parametrize("identifier", [None, "", "  ", "\u200b", ["ada@example.org"], 7])
    async def test_a_missing_identifier_is_reported_at_its_field(self, world: World, identifier: Any) -> None:
        with pytest.raises(SubmissionRejected) as rejected:
            await world.talk().login(identifier=identifier)
        assert told(rejected) == [("identifier", 4000002)]

    @on_sqlite
    async def test_an_identifier_longer_than_any_address_is_refused(self, world: World) -> None:
        with pytest.raises(SubmissionRejected) as rejected:
            await world.talk().login(identifier="x" * 321)
        assert told(rejected) == [("identifier", 4000017)]

    async def test_a_code_that_was_sent_again_replaces_the_first_one(self, world: World) -> None:
        await world.customer(ADA)
        talk = world.talk()
        await talk.login(identifier=ADA)
        first = await world.code(ADA)
        again = await talk.login(identifier=ADA, resend="code", code="")
        assert asked(again) == (400, [1010014])
        second = await world.code(ADA)
        if first != second:  # one time in a million
            assert asked(await talk.login(identifier=ADA, code=first)) == (400, [WRONG_LOGIN])
        assert isinstance(await talk.login(identifier=ADA, code=second), Proof)

    @on_sqlite
    async def test_an_address_that_has_left_the_account_proves_nothing_any_more(self, world: World) -> None:
        ada, talk = await world.customer(ADA), world.talk()
        await talk.login(identifier=ADA)
        proof = await talk.login(identifier=ADA, code=await world.code(ADA))
        async with world.database.unit() as unit:
            await world.identities.replace(unit, ada.id, NewIdentity(traits={"email": BEA}))
        async with world.database.unit() as unit:
            moved = await world.identities.require(unit, ada.id, credentials=True)
        assert isinstance(proof, Proof)
        assert not proof.still_valid(moved)

    @on_sqlite
    async def test_the_mail_is_in_the_language_of_the_visitor_and_says_how_long_the_code_counts(
        self, world: World
    ) -> None:
        await world.customer(ADA, name={"first": "Ada"})
        talk = world.talk()
        await talk.login(identifier=ADA)
        (mail,) = await world.mailbox(ADA)
        assert mail.template_type == "login_code_valid"
        assert "Ada" in mail.body
        assert "10 minutes" in mail.body

    @on_sqlite
    async def test_the_method_satisfies_both_ports(self, world: World) -> None:
        method = world.method
        assert isinstance(method, LoginMethod)
        assert isinstance(method, RegistrationMethod)
        facts = method.facts
        assert (facts.type, facts.first_factor, facts.second_factor) == ("code", True, False)
        assert (facts.removable, facts.from_traits, facts.written_version) == (False, True, 1)


class TestRefresh:
    @on_sqlite
    async def test_a_browser_is_offered_the_addresses_of_its_account(self, world: World, shared: Path) -> None:
        ada = await world.customer("dev@ory.dev", phone="+49 170 1234567")
        async with world.database.unit() as unit:
            form = await world.method.login_form(unit, MethodView(CLIENT, refresh=True, identity=ada))
        assert wire(form.nodes) == golden(shared, "login/1fa/refresh/code/without-password/initial-form", "code")

    @on_sqlite
    async def test_the_address_is_confirmed_by_its_code(self, world: World) -> None:
        ada = await world.customer(ADA, others=["work@example.org"])
        talk = world.talk(identity=ada)
        assert asked(await talk.login(address="work@example.org", identifier=ADA)) == (400, [1010025])
        assert await world.mailbox(ADA) == ()
        code = await world.code("work@example.org")
        proof = await talk.login(identifier="work@example.org", code=code)
        assert isinstance(proof, Proof)
        assert proof.verified == ((Via.EMAIL, "work@example.org"),)

    @on_sqlite
    @pytest.mark.parametrize("mitigate", [True, False])
    @pytest.mark.parametrize("address", [BEA, UNKNOWN])
    async def test_an_address_of_another_account_is_refused_and_its_budget_is_not_spent(
        self, world: World, address: str, mitigate: bool
    ) -> None:
        ada, _ = await world.customer(ADA), await world.customer(BEA)
        strict = replace(world, mitigate=mitigate)
        for number in range(2 * PER_RECIPIENT):
            with pytest.raises(SubmissionRejected) as rejected:
                await strict.talk(identity=ada, client=Client(ip=f"198.51.100.{number}")).login(address=address)
            assert told(rejected) == [("identifier", 4000035)]
        assert await world.mailbox() == ()
        assert asked(await world.talk().login(identifier=address)) == (400, [1010014])


class TestBinding:
    """A code counts for one flow, one account, one address and a limited time, all at once (security row 66)."""

    async def test_row_066_a_code_counts_in_its_own_flow_only(self, world: World) -> None:
        await world.customer(ADA)
        mine, other = world.talk(), world.talk()
        await mine.login(identifier=ADA)
        code = await world.code(ADA)
        await other.login(identifier=ADA)
        if code != await world.code(ADA):
            assert asked(await other.login(identifier=ADA, code=code)) == (400, [WRONG_LOGIN])
        assert isinstance(await mine.login(identifier=ADA, code=code), Proof)

    async def test_row_066_a_code_does_not_count_for_another_identifier(self, world: World) -> None:
        await world.customer(ADA)
        await world.customer(BEA)
        talk = world.talk()
        await talk.login(identifier=BEA)
        code = await world.code(BEA)
        assert asked(await talk.login(identifier=ADA, code=code)) == (400, [WRONG_LOGIN])

    async def test_row_066_a_right_code_that_has_expired_is_wrong(self, world: World) -> None:
        await world.customer(ADA)
        talk = world.talk()
        await talk.login(identifier=ADA)
        code = await world.code(ADA)
        world.clock.advance(seconds=LIFESPAN.total_seconds())
        assert asked(await talk.login(identifier=ADA, code=code)) == (400, [WRONG_LOGIN])

    @on_sqlite
    async def test_row_066_a_session_is_confirmed_by_its_own_account_only(self, world: World) -> None:
        bea, _ = await world.customer(BEA), await world.customer(ADA)
        talk = world.talk()
        await talk.login(identifier=ADA)
        code = await world.code(ADA)
        talk.identity = bea
        assert asked(await talk.login(identifier=ADA, code=code)) == (400, [WRONG_LOGIN])

    @on_sqlite
    async def test_row_066_an_address_that_moved_to_another_account_does_not_take_the_code_along(
        self, world: World
    ) -> None:
        ada, talk = await world.customer(ADA), world.talk()
        await talk.login(identifier=ADA)
        code = await world.code(ADA)
        async with world.database.unit() as unit:
            moved = await world.identities.replace(unit, ada.id, NewIdentity(traits={"email": "new@example.org"}))
        await world.customer(ADA)
        proof = await talk.login(identifier=ADA, code=code)
        assert isinstance(proof, Proof)
        assert proof.identity_id == ada.id
        assert not proof.still_valid(moved)  # asked under the lock, before anything is given for the proof

    @on_sqlite
    async def test_a_code_counts_with_the_key_that_it_was_made_with(self, world: World) -> None:
        await world.customer(ADA)
        talk = world.talk()
        await talk.login(identifier=ADA)
        code = await world.code(ADA)
        talk.world = replace(world, key=b"d" * 32)
        assert asked(await talk.login(identifier=ADA, code=code)) == (400, [WRONG_LOGIN])


class TestGuessing:
    async def test_row_071_a_flow_takes_so_many_codes_and_then_starts_over(self, world: World) -> None:
        await world.customer(ADA)
        talk = world.talk()
        await talk.login(identifier=ADA)
        code = await world.code(ADA)
        for _ in range(MAX_SUBMISSIONS):
            assert asked(await talk.login(identifier=ADA, code=other_than(code))) == (400, [WRONG_LOGIN])
        step = await talk.login(identifier=ADA, code=code)
        assert isinstance(step, StartOver)
        assert [m.id for m in step.messages] == [WRONG_LOGIN]

    async def test_row_071_asking_for_another_code_gives_no_further_tries(self, world: World) -> None:
        await world.customer(ADA)
        talk = world.talk()
        await talk.login(identifier=ADA)
        for _ in range(MAX_SUBMISSIONS):
            await talk.login(identifier=ADA, code="wrong")
        await talk.login(identifier=ADA, resend="code")
        assert isinstance(await talk.login(identifier=ADA, code=await world.code(ADA)), StartOver)

    @on_sqlite
    async def test_failures_in_many_flows_block_the_account(self, world: World) -> None:
        await world.customer(ADA)
        blocked = replace(world, guard=AttemptGuard(throttle=_few_failures(world.clock), audit=world.audit))
        for _ in range(2):
            talk = blocked.talk()
            await talk.login(identifier=ADA)
            await talk.login(identifier=ADA, code="wrong")
        talk = blocked.talk()
        await talk.login(identifier=ADA)
        with pytest.raises(TooManyRequests):
            await talk.login(identifier=ADA, code=await world.code(ADA))

    @on_sqlite
    async def test_a_failure_is_in_the_audit_trail_without_the_code(self, world: World) -> None:
        ada, talk = await world.customer(ADA), world.talk()
        await talk.login(identifier=ADA)
        wrong = other_than(await world.code(ADA))
        await talk.login(identifier=ADA, code=wrong)
        (failure,) = await world.failures()
        assert failure.details == {"method": "code", "reason": "wrong_credentials"}
        assert failure.subject == str(ada.id)
        assert wrong not in str(failure)


def _few_failures(clock: StoppedClock) -> Throttle:
    return Throttle(
        MemoryCache(clock),
        spare=MemoryCache(clock),
        down=CacheDown,
        clock=clock,
        name="login",
        key=b"k" * 32,
        failures=2,
        block=timedelta(minutes=1),
        block_max=timedelta(minutes=15),
        per_ip="1000/minute",
    )


class TestSecrecy:
    @on_sqlite
    async def test_the_flow_and_the_log_never_hold_a_code(self, world: World) -> None:
        await world.customer(ADA)
        talk = world.talk()
        with capture_logs() as logs:
            sent = await talk.login(identifier=ADA)
            code = await world.code(ADA)
            await talk.login(identifier=ADA, code=other_than(code))
            await talk.login(identifier=ADA, code=code)
        assert isinstance(sent, Ask)
        shown = json.dumps([node.to_wire() for node in sent.form.nodes])
        assert code not in json.dumps(talk.context) + shown + str(logs)

    @on_sqlite
    async def test_codes_are_six_random_digits(self, world: World) -> None:
        codes = OneTimeCodes(key=b"k" * 32, clock=world.clock, lifespan=LIFESPAN)
        made = {codes.issue(via=Via.EMAIL, address=ADA).code for _ in range(500)}
        assert all(re.fullmatch(r"[0-9]{6}", code) for code in made)
        assert len(made) > 490
        assert any(code.startswith("0") for code in made)

    def test_a_short_key_is_refused(self, clock: StoppedClock) -> None:
        with pytest.raises(ValueError, match="key"):
            OneTimeCodes(key=b"short", clock=clock, lifespan=LIFESPAN)


class TestEnumeration:
    async def test_row_075_an_unknown_address_gets_the_answer_of_a_known_one(self, world: World) -> None:
        await world.customer(ADA)
        known, unknown = world.talk(), world.talk()
        answers = [
            [await talk.login(identifier=name), await talk.login(identifier=name, code="123456x")]
            for talk, name in ((known, ADA), (unknown, UNKNOWN))
        ]
        assert _answer(answers[0], ADA) == _answer(answers[1], UNKNOWN)
        assert _shape(known.context) == _shape(unknown.context)
        assert await world.mailbox(UNKNOWN) == ()

    @on_sqlite
    async def test_row_076_no_code_is_right_for_an_unknown_address(self, world: World) -> None:
        codes = OneTimeCodes(key=b"k" * 32, clock=world.clock, lifespan=LIFESPAN)
        unusable = codes.issue_unusable(via=Via.EMAIL, address=UNKNOWN)
        assert not any(codes.matches(unusable.sent, f"{number:06d}") for number in range(0, 1_000_000, 97))
        assert not codes.matches(unusable.sent, unusable.code)

    @on_sqlite
    async def test_without_mitigation_an_unknown_address_is_reported(self, world: World) -> None:
        talk = replace(world, mitigate=False).talk()
        with pytest.raises(SubmissionRejected) as rejected:
            await talk.login(identifier=UNKNOWN)
        assert told(rejected) == [4000035]
        assert rejected.value.filled

    @on_sqlite
    @pytest.mark.parametrize("number", ["+49 170 1234567", "+49 170 7654321"], ids=["known", "unknown"])
    async def test_a_phone_number_gets_the_same_answer_whether_it_is_known(self, world: World, number: str) -> None:
        """No channel carries text messages yet."""
        async with world.database.unit() as unit:
            await world.identities.create(unit, NewIdentity(traits={"phone": "+49 170 1234567"}))
        with pytest.raises(SubmissionRejected) as rejected:
            await world.talk().login(identifier=number)
        assert told(rejected) == [("identifier", 4000040)]
        assert await world.mailbox() == ()

    async def test_row_075_a_taken_address_gets_the_answer_of_a_free_one_and_its_owner_a_mail(
        self, world: World
    ) -> None:
        await world.customer(ADA)
        taken, free = world.talk(), world.talk()
        answers = [
            [await talk.register({"email": name}), await talk.register({"email": name}, code="123456x")]
            for talk, name in ((taken, ADA), (free, BEA))
        ]
        assert _answer(answers[0], ADA) == _answer(answers[1], BEA)
        assert _shape(taken.context) == _shape(free.context)
        (mail,) = await world.mailbox(ADA)
        assert mail.template_type == "sign_up_attempt"
        assert not SIX_DIGITS.search(mail.subject + mail.body)

    @on_sqlite
    async def test_row_075_an_address_that_only_is_verifiable_is_taken_too(self, world: World) -> None:
        await world.customer(BEA, others=[ADA])
        await world.talk().register({"email": ADA})
        (mail,) = await world.mailbox(ADA)
        assert mail.template_type == "sign_up_attempt"

    @on_sqlite
    async def test_without_mitigation_a_taken_address_is_found_when_the_identity_is_created(self, world: World) -> None:
        await world.customer(ADA)
        talk = replace(world, mitigate=False).talk()
        await talk.register({"email": ADA})
        assert isinstance(await talk.register({"email": ADA}, code=await world.code(ADA)), Enrolment)

    async def test_a_known_and_an_unknown_address_cost_the_same_statements(self, world: World) -> None:
        await world.customer(ADA)
        counts = []
        for name in (ADA, UNKNOWN):
            before = await _written(world)
            await world.talk().login(identifier=name)
            counts.append(await _written(world) - before)
        assert counts[0] == counts[1]


async def _written(world: World) -> int:
    """Count the outbox events: one for each mail, also for one that is only simulated."""
    async with world.database.unit() as unit:
        return len(await unit.all(_outbox_events()))


def _outbox_events() -> Any:
    from sqlalchemy import select

    from shopkeeper.storage.outbox import outbox

    return select(outbox.c.id)


def _answer(steps: Sequence[AnyStep], name: str) -> str:
    """Return everything that the client sees of the steps, without the name."""
    assert all(isinstance(step, Ask) for step in steps)
    seen = [
        (step.status, step.state, step.active, step.transient_payload, step.form.scope, step.messages, step.form.nodes)
        for step in steps
        if isinstance(step, Ask)
    ]
    return str(seen).replace(name, "<name>")


def _shape(value: Any) -> Any:
    """Return the structure of a context: its keys, without the values that always differ."""
    if isinstance(value, Mapping):
        return {key: _shape(inner) for key, inner in value.items() if key != "identity_id"}
    return [_shape(inner) for inner in value] if isinstance(value, list) else len(str(value)) > 0


class TestMailBombing:
    """Asking for codes is limited by client and by recipient, unknown ones included (ASVS 5.0, 6.6.3)."""

    async def test_row_077_one_recipient_gets_so_many_mails_whatever_addresses_ask_in_whatever_spelling(
        self, world: World
    ) -> None:
        await world.customer(ADA)
        for number in range(PER_RECIPIENT):
            await world.talk(client=Client(ip=f"198.51.100.{number}")).login(identifier=ADA)
        with pytest.raises(TooManyRequests) as refused:
            await world.talk(client=Client(ip="198.51.100.99")).login(identifier=ADA.upper())
        assert 0 < (refused.value.retry_after or 0) <= 7200
        assert len(await world.mailbox(ADA)) == PER_RECIPIENT

    @on_sqlite
    @pytest.mark.parametrize("mitigate", [True, False])
    async def test_an_unknown_recipient_is_limited_like_a_known_one(self, world: World, mitigate: bool) -> None:
        strict = replace(world, mitigate=mitigate)
        for number in range(PER_RECIPIENT):
            talk = strict.talk(client=Client(ip=f"198.51.100.{number}"))
            try:
                await talk.login(identifier=UNKNOWN)
            except SubmissionRejected:
                assert not mitigate
        with pytest.raises(TooManyRequests):
            await strict.talk(client=Client(ip="198.51.100.99")).login(identifier=UNKNOWN)

    @on_sqlite
    async def test_registering_and_signing_in_have_separate_budgets_of_a_recipient(self, world: World) -> None:
        await world.customer(ADA)
        for number in range(PER_RECIPIENT):
            await world.talk(client=Client(ip=f"198.51.100.{number}")).register({"email": ADA})
        with pytest.raises(TooManyRequests):
            await world.talk(client=Client(ip="198.51.100.99")).register({"email": ADA})
        assert asked(await world.talk(client=Client(ip="198.51.100.99")).login(identifier=ADA)) == (400, [1010014])

    @on_sqlite
    async def test_one_client_asks_so_often_for_all_recipients_together(self, world: World) -> None:
        for number in range(10):
            await world.talk().login(identifier=f"somebody-{number}@example.org")
        with pytest.raises(TooManyRequests):
            await world.talk().login(identifier="somebody-else@example.org")

    @on_sqlite
    async def test_a_client_without_budget_does_not_spend_the_recipients(self, world: World) -> None:
        await world.customer(ADA)
        for number in range(10):
            await world.talk().login(identifier=f"somebody-{number}@example.org")
        for _ in range(2 * PER_RECIPIENT):
            with pytest.raises(TooManyRequests):
                await world.talk().login(identifier=ADA)
        assert asked(await world.talk(client=Client(ip="198.51.100.1")).login(identifier=ADA)) == (400, [1010014])

    @on_sqlite
    async def test_every_address_of_a_registration_is_counted(self, world: World) -> None:
        others = [f"victim-{number}@example.org" for number in range(30)]
        with pytest.raises(TooManyRequests):
            await world.talk().register({"email": BEA, "others": others})
        assert await world.mailbox() == ()

    async def test_requests_at_once_get_no_further_than_requests_in_a_row(self, world: World) -> None:
        await world.customer(ADA)
        clients = [Client(ip=f"198.51.100.{number}") for number in range(3 * PER_RECIPIENT)]
        asking = [world.talk(client=client).login(identifier=ADA) for client in clients]
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert sum(isinstance(answer, Ask) for answer in answers) == PER_RECIPIENT
        assert len(await world.mailbox(ADA)) == PER_RECIPIENT


class TestRegistration:
    async def test_the_code_in_the_mail_makes_an_account_with_a_verified_address(self, world: World) -> None:
        talk, traits = world.talk(), {"email": ADA, "name": {"first": "Ada"}}
        sent = await talk.register(traits)
        assert asked(sent) == (400, [1040005])
        assert isinstance(sent, Ask)
        assert (sent.state, sent.transient_payload, sent.form.scope) == ("sent_email", {}, "form")
        enrolment = await talk.register(traits, code=await world.code(ADA))
        assert isinstance(enrolment, Enrolment)
        assert (enrolment.traits, enrolment.method) == (traits, "code")
        assert list(enrolment.verified) == [(Via.EMAIL, ADA)]

    async def test_an_account_made_by_code_signs_in_by_code(self, world: World) -> None:
        talk = world.talk()
        await talk.register({"email": ADA})
        enrolment = await talk.register({"email": ADA}, code=await world.code(ADA))
        assert isinstance(enrolment, Enrolment)
        async with world.database.unit() as unit:
            new = NewIdentity(traits=enrolment.traits, credentials=enrolment.credentials)
            identity = await world.identities.create(unit, new)
        assert identity.credentials["code"].config == {"addresses": [{"channel": "email", "address": ADA}]}
        talk = world.talk()
        await talk.login(identifier=ADA)
        assert isinstance(await talk.login(identifier=ADA, code=await world.code(ADA)), Proof)

    @on_sqlite
    async def test_a_wrong_code_asks_again(self, world: World) -> None:
        talk = world.talk()
        await talk.register({"email": ADA})
        code = await world.code(ADA)
        assert asked(await talk.register({"email": ADA}, code=other_than(code))) == (400, [WRONG_REGISTRATION])
        assert isinstance(await talk.register({"email": ADA}, code=code), Enrolment)

    @on_sqlite
    async def test_row_071_a_flow_takes_so_many_codes_and_then_starts_over(self, world: World) -> None:
        talk = world.talk()
        await talk.register({"email": ADA})
        for _ in range(MAX_SUBMISSIONS):
            await talk.register({"email": ADA}, code="wrong")
        step = await talk.register({"email": ADA}, code=await world.code(ADA))
        assert isinstance(step, StartOver)

    @on_sqlite
    async def test_a_right_code_that_has_expired_is_wrong(self, world: World) -> None:
        talk = world.talk()
        await talk.register({"email": ADA})
        world.clock.advance(seconds=LIFESPAN.total_seconds())
        step = await talk.register({"email": ADA}, code=await world.code(ADA))
        assert asked(step) == (400, [WRONG_REGISTRATION])

    async def test_the_address_that_was_mailed_is_the_one_that_is_registered(self, world: World) -> None:
        talk = world.talk()
        await talk.register({"email": ADA})
        code = await world.code(ADA)
        for traits in ({"email": BEA}, {"email": ADA, "others": [BEA]}, {}):
            with pytest.raises(SubmissionRejected) as rejected:
                await talk.register(traits, code=code)
            assert told(rejected) == [4000036]
            assert "ask for another code" in rejected.value.general[0].text
        changed = {"email": ADA, "name": {"first": "Ada"}}
        enrolment = await talk.register(changed, code=code)
        assert isinstance(enrolment, Enrolment)
        assert enrolment.traits == changed

    @on_sqlite
    async def test_each_address_has_a_code_of_its_own_and_is_verified_by_it_alone(self, world: World) -> None:
        traits: dict[str, Any] = {"email": ADA, "others": [BEA]}
        first = second = ""
        while first == second:  # two random codes are the same once in a million times
            talk = world.talk()
            await talk.register(traits)
            first, second = await world.code(ADA), await world.code(BEA)
        enrolment = await talk.register(traits, code=second)
        assert isinstance(enrolment, Enrolment)
        assert list(enrolment.verified) == [(Via.EMAIL, BEA)]

    @on_sqlite
    async def test_a_code_that_was_sent_again_may_go_to_another_address(self, world: World) -> None:
        talk = world.talk()
        await talk.register({"email": ADA})
        await talk.register({"email": BEA}, resend="code", code="")
        assert isinstance(await talk.register({"email": BEA}, code=await world.code(BEA)), Enrolment)

    @on_sqlite
    @pytest.mark.parametrize("traits", [{}, {"name": {"first": "Ada"}}, {"phone": "+49 170 1234567"}])
    async def test_without_an_address_to_mail_to_there_is_no_registration(
        self, world: World, traits: Mapping[str, Any]
    ) -> None:
        with pytest.raises(SubmissionRejected) as rejected:
            await world.talk().register(traits)
        assert told(rejected) == [4000009]

    @on_sqlite
    async def test_an_address_that_no_mail_can_be_sent_to_gets_none_and_the_same_answer(self, world: World) -> None:
        with capture_logs() as logs:
            step = await world.talk().register({"email": '"quoted local"@example.org'})
        assert asked(step) == (400, [1040005])
        assert await world.mailbox() == ()
        assert [(entry["event"], "quoted" in str(entry)) for entry in logs] == [("mail.address_refused", False)]


# -- the forms ---------------------------------------------------------------------------------------------------------


def wire(nodes: Sequence[Node]) -> list[dict[str, Any]]:
    return [wordless(node.to_wire()) for node in nodes]


def wordless(node: dict[str, Any]) -> dict[str, Any]:
    """Return a node without the sentences, which are our own, and without the anti-CSRF token."""
    node.get("meta", {}).get("label", {}).pop("text", None)
    if node["attributes"].get("name") == "csrf_token":
        node["attributes"]["value"] = ""
    return node


def golden(shared: Path, name: str, *groups: str) -> list[dict[str, Any]]:
    """Return the nodes of a golden answer; those of some groups only, if any are given."""
    flow = json.loads((shared / "contracts/kratos/golden" / f"{name}.json").read_text())
    nodes = [node for node in flow["ui"]["nodes"] if not groups or node["group"] in groups]
    return [wordless(node) for node in nodes]


def recorded(shared: Path, number: int, *groups: str) -> list[dict[str, Any]]:
    """Return the nodes of an answer in the recorded conversation; those of some groups only, if any are given."""
    path = shared / "contracts/kratos/conversations/recorded/base/code_sign_in.json"
    nodes = json.loads(path.read_text())[number]["response"]["body"]["ui"]["nodes"]
    return [wordless(node) for node in nodes if not groups or node["group"] in groups]


def nodes_of(wires: Sequence[dict[str, Any]]) -> Sequence[Node]:
    """Return the nodes as the pipeline holds them, with labels of ours."""
    for node in wires:
        if label := node["meta"].get("label"):
            label["text"] = ""
    return [Node.from_wire(node) for node in wires]


def without_csrf(wires: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the nodes without the anti-CSRF node, which the handler adds for a browser after a code was sent."""
    return [node for node in wires if node["attributes"]["name"] != "csrf_token"]


def shown_by(step: AnyStep) -> list[dict[str, Any]]:
    assert isinstance(step, Ask)
    return wire(step.form.nodes)


DEV = "dev@ory.dev"


@on_sqlite
class TestForms:
    async def test_the_buttons_are_those_that_kratos_shows(self, world: World, shared: Path) -> None:
        async with world.database.unit() as unit:
            login = await world.method.login_form(unit, MethodView(CLIENT, native=True))
            registration = await world.method.registration_form(unit, MethodView(CLIENT, native=True))
        assert wire(login.nodes) == recorded(shared, 2, "code")
        assert wire(registration.nodes) == recorded(shared, 8, "code")

    async def test_a_native_app_that_confirms_its_session_has_the_plain_button(self, world: World) -> None:
        ada = await world.customer(ADA)
        async with world.database.unit() as unit:
            form = await world.method.login_form(unit, MethodView(CLIENT, native=True, refresh=True, identity=ada))
        assert wire(form.nodes) == wire([submit_node("code", label=message(1010015))])

    async def test_native_sign_in_matches_the_recording(self, world: World, shared: Path) -> None:
        await world.customer("jane@example.org")
        talk = world.talk(native=True, shown=nodes_of(recorded(shared, 2)))
        sent = await talk.login(identifier="jane@example.org")
        assert _as_jane(shown_by(sent)) == recorded(shared, 4)
        wrong = await talk.login(identifier="jane@example.org", code="wrong")
        assert _as_jane(shown_by(wrong)) == recorded(shared, 5)

    async def test_native_registration_matches_the_recording(self, world: World, shared: Path) -> None:
        """The nodes of the traits belong to the handler, so they are left out."""
        talk = world.talk(native=True)
        assert shown_by(await talk.register({"email": ADA})) == recorded(shared, 9, "code")
        assert shown_by(await talk.register({"email": ADA}, code="wrong")) == recorded(shared, 10, "code")

    @pytest.mark.parametrize("style", ["unified", "identifier_first"])
    async def test_a_browsers_sign_in_matches_the_golden_answers(self, world: World, shared: Path, style: str) -> None:
        await world.customer(DEV)
        names = {"unified": ("code-input", "wrong-credentials"), "identifier_first": ("show-send", "invalid-code")}
        first = golden(shared, "login/1fa/identifier_first/code/initial-form")
        talk = world.talk(shown=nodes_of(first))
        sent, wrong = names[style]
        folder = f"login/1fa/{style}/code"
        assert shown_by(await talk.login(identifier=DEV)) == without_csrf(golden(shared, f"{folder}/{sent}"))
        assert shown_by(await talk.login(identifier=DEV, code="wrong")) == golden(shared, f"{folder}/{wrong}")

    async def test_a_browsers_refresh_matches_the_golden_answers(self, world: World, shared: Path) -> None:
        dev, folder = await world.customer(DEV), "login/1fa/refresh/code"
        talk = world.talk(identity=dev, shown=nodes_of(golden(shared, f"{folder}/without-password/initial-form")))
        sent = await talk.login(address=DEV)
        assert shown_by(sent) == without_csrf(golden(shared, f"{folder}/without-password/code-sent"))
        wrong = await talk.login(identifier=DEV, code="wrong")
        assert shown_by(wrong) == golden(shared, f"{folder}/with-password/wrong-code")
        again = await talk.login(identifier=DEV, resend="code")
        assert shown_by(again) == without_csrf(golden(shared, f"{folder}/without-password/code-sent"))

    async def test_a_browsers_registration_matches_the_golden_answers(self, world: World, shared: Path) -> None:
        folder, talk = "registration/two-step/code", world.talk()
        sent, wrong = (golden(shared, f"{folder}/{name}", "code") for name in ("show-code-input", "wrong-code"))
        assert shown_by(await talk.register({"email": DEV})) == sent
        assert shown_by(await talk.register({"email": DEV}, code="wrong")) == wrong
        assert shown_by(await talk.register({"email": DEV}, resend="code")) == sent


def _as_jane(wires: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the answer with the address masked as in the recording."""
    return list(json.loads(json.dumps(wires).replace("jane@example.org", "<jane-1@>")))


class TestCodesAsTheyAreTyped:
    """A code is copied from a mail: what people and keyboards add must not cost an attempt."""

    @on_sqlite
    @pytest.mark.parametrize(
        "written",
        [
            "{}{}{}-{}{}{}",
            " {}{}{} {}{}{} ",
            "{}\u00a0{}{}{}{}{}",
            "{}{}{}\u200b{}{}{}\ufeff",
            "{}{}{}{}{}{}.",
            "{}{}{}\u2013{}{}{}",
            "\u202a{}{}{}{}{}{}\u202c",
            "Code: {}{}{}{}{}{}",
        ],
        ids=repr,
    )
    async def test_what_is_no_digit_does_not_count(self, world: World, written: str) -> None:
        await world.customer(ADA)
        talk = world.talk()
        await talk.login(identifier=ADA)
        assert isinstance(await talk.login(identifier=ADA, code=written.format(*await world.code(ADA))), Proof)

    @on_sqlite
    async def test_digits_of_other_widths_are_digits(self, world: World) -> None:
        await world.customer(ADA)
        talk = world.talk()
        await talk.login(identifier=ADA)
        wide = "".join(chr(ord(digit) + 0xFEE0) for digit in await world.code(ADA))
        assert isinstance(await talk.login(identifier=ADA, code=wide), Proof)


class TestAnAccountOlderThanTheSchemasMark:
    """It has no credential of this type until it changes (ory/kratos#3581); its owner was told that a mail was sent."""

    async def test_signs_in_by_code(self, world: World) -> None:
        ada = await world.customer(ADA)
        async with world.database.unit() as unit:
            await unit.write(delete(credentials).where(credentials.c.identity_id == ada.id))
        talk = world.talk()
        await talk.login(identifier=ADA)
        proof = await talk.login(identifier=ADA, code=await world.code(ADA))
        assert isinstance(proof, Proof)
        assert proof.identity_id == ada.id
        async with world.database.unit() as unit:
            assert proof.still_valid(await world.identities.lock(unit, ada.id))


@pytest.mark.parametrize(("passed", "minutes"), [(0, 10), (0.001, 10), (59.9, 10), (60, 9), (599, 1), (600, 1)])
def test_the_minutes_are_rounded_up(clock: StoppedClock, passed: float, minutes: int) -> None:
    codes = OneTimeCodes(key=bytes(32), clock=clock, lifespan=LIFESPAN)
    sent = codes.issue(via=Via.EMAIL, address=ADA).sent
    clock.advance(seconds=passed)
    assert codes.minutes_left(sent) == minutes


@on_sqlite
class TestHowLongACodeCounts:
    async def test_it_ends_with_its_flow_and_the_mail_says_so(self, world: World, clock: StoppedClock) -> None:
        await world.customer(ADA)
        talk = world.talk(expires_at=clock.now() + timedelta(minutes=7, seconds=30))
        await talk.login(identifier=ADA)
        assert "8 minutes" in (await world.mailbox(ADA))[0].body
        code = await world.code(ADA)
        clock.advance(minutes=8)
        assert asked(await talk.login(identifier=ADA, code=code)) == (400, [4010008])


@on_sqlite
async def test_no_client_alone_uses_up_the_codes_of_a_recipient(world: World, clock: StoppedClock) -> None:
    """Ten requests an hour kept the owner of an account without a password out for good."""
    await world.customer(ADA)
    strict = replace(
        world,
        mails=CodeMails(
            world.courier,
            audit=world.audit,
            per_client=_throttle(clock, "code", "100/minute"),
            per_recipient=_throttle(clock, "code_recipient", "10/hour"),
            per_pair=_throttle(clock, "code_pair", "4/hour"),
        ),
    )
    stranger = Client(ip="2001:db8::1")
    for number in range(20):
        with suppress(TooManyRequests):
            await strict.talk(client=replace(stranger, ip=f"2001:db8::{number + 1}")).login(identifier=ADA)
    assert len(await world.mailbox(ADA)) == 4
    assert asked(await strict.talk(client=CLIENT).login(identifier=ADA)) == (400, [1010014])


@on_sqlite
class TestTheThrottleRevealsNoAccount:
    """A throttle that counted failed codes for accounts, and those of unknown addresses for names, told one from the
    other: a password that was tried afterwards was answered with 400 for one and 429 for the other."""

    @pytest.mark.parametrize("known", ["with a password", "without a password", None])
    @pytest.mark.parametrize("how", ["wrong", "another identifier", "another account's flow"])
    @pytest.mark.parametrize("first", ["code", "password"])
    async def test_codes_and_passwords_are_answered_alike(
        self, world: World, how: str, known: str | None, first: str
    ) -> None:
        bea, name = await world.customer(BEA), ADA if known else UNKNOWN
        guard = AttemptGuard(throttle=_few_failures(world.clock), audit=world.audit)
        strict = replace(world, guard=guard)
        account = await world.customer(ADA) if known else None
        found = account if known == "with a password" else None  # the password method finds only those that have one

        async def try_password() -> None:
            async with world.database.unit() as unit:
                attempt = CredentialAttempt("password", found, name=name, client=CLIENT)
                with pytest.raises(InvalidCredentials):
                    await guard.judge(unit, attempt, _never)

        async def try_code() -> AnyStep:
            talk = strict.talk()
            await talk.login(identifier=name)
            talk.identity = bea if how == "another account's flow" else None
            return await talk.login(identifier=BEA if how == "another identifier" else name, code="wrong")

        for attempt in (try_code, try_password) if first == "code" else (try_password, try_code):
            await attempt()
            await attempt()

    async def test_a_failure_in_a_flow_for_another_account_is_recorded_for_the_account_of_the_address(
        self, world: World
    ) -> None:
        ada, bea = await world.customer(ADA), await world.customer(BEA)
        talk = world.talk()
        await talk.login(identifier=ADA)
        code = await world.code(ADA)
        talk.identity = bea
        assert asked(await talk.login(identifier=ADA, code=code)) == (400, [WRONG_LOGIN])
        assert [failure.subject for failure in await world.failures()] == [str(ada.id)]


async def _never() -> bool:
    return False


@on_sqlite
async def test_a_code_that_the_throttle_refuses_costs_the_flow_no_attempt(world: World) -> None:
    """The right code was used up while the throttle blocked."""
    await world.customer(ADA)
    strict = replace(world, guard=AttemptGuard(throttle=_few_failures(world.clock), audit=world.audit))
    for _ in range(2):
        stranger = strict.talk()
        await stranger.login(identifier=ADA)
        await stranger.login(identifier=ADA, code="wrong")
    talk = strict.talk()
    await talk.login(identifier=ADA)
    code = await world.code(ADA)
    for _ in range(MAX_SUBMISSIONS + 1):
        with pytest.raises(TooManyRequests):
            await talk.login(identifier=ADA, code=code)
    world.clock.advance(minutes=2)
    assert isinstance(await talk.login(identifier=ADA, code=code), Proof)


@on_sqlite
class TestAuditTrail:
    """Who was mailed, and what was refused, without a code and without an address."""

    async def test_a_mailed_code_is_recorded(self, world: World) -> None:
        ada = await world.customer(ADA)
        await world.talk().login(identifier=ADA)
        await world.talk().register({"email": BEA})
        registration, login = await world.failures("code.sent")
        assert (login.outcome, login.subject, login.client) == ("success", str(ada.id), world.audit.client(CLIENT.ip))
        assert (login.details["flow"], login.details["template"]) == ("login", "login_code_valid")
        assert (registration.outcome, registration.subject) == ("success", None)
        assert registration.details["recipient"] != login.details["recipient"]
        for secret in (ADA, BEA, await world.code(ADA), await world.code(BEA)):
            assert secret not in str([registration, login])

    async def test_requests_without_a_mail_are_recorded_with_their_reason(self, world: World) -> None:
        ada = await world.customer(ADA)
        await world.talk().login(identifier=UNKNOWN)
        await world.talk().register({"email": ADA})
        await world.talk().register({"email": ADA})
        events = await world.failures("code.sent")
        assert [(event.outcome, event.subject, event.details.get("reason")) for event in events] == [
            ("refused", str(ada.id), "notified_before"),
            ("success", str(ada.id), None),
            ("refused", None, "unknown_account"),
        ]

    async def test_refusals_for_a_recipient_are_recorded_once_in_a_period(self, world: World) -> None:
        for number in range(PER_RECIPIENT + 5):
            with suppress(TooManyRequests):
                await world.talk(client=Client(ip=f"198.51.100.{number}")).login(identifier=UNKNOWN)
        (refused,) = await world.failures("code.refused")
        assert (refused.outcome, refused.details["reason"]) == ("refused", "too_many_requests")
        assert UNKNOWN not in str(refused)

    async def test_a_wrong_code_of_a_registration_is_recorded(self, world: World) -> None:
        talk = world.talk()
        await talk.register({"email": ADA})
        wrong = other_than(await world.code(ADA))
        await talk.register({"email": ADA}, code=wrong)
        (failure,) = await world.failures("registration.failed")
        assert failure.details == {"method": "code", "reason": "wrong_credentials"}
        assert (failure.subject, wrong in str(failure)) == (None, False)


@on_sqlite
async def test_the_owner_of_an_address_gets_one_mail_an_hour_about_attempts_to_register(world: World) -> None:
    await world.customer(ADA)
    for number in range(3):
        step = await world.talk(client=Client(ip=f"198.51.100.{number}")).register({"email": ADA})
        assert asked(step) == (400, [1040005])
    assert [mail.template_type for mail in await world.mailbox(ADA)] == ["sign_up_attempt"]
    world.clock.advance(hours=1)
    await world.talk().register({"email": ADA})
    assert len(await world.mailbox(ADA)) == 2


async def test_row_071_the_right_code_comes_too_late_after_the_last_try(staging: Staging, dsn: str) -> None:
    methods = {"methods": {"code": {"passwordless_enabled": True, "config": {"max_submissions": 2}}}}
    async with staging(dsn, selfservice=methods) as stage:
        await stage.customer("ada", email=ADA)
        app = await stage.scene.native()
        flow = (await app.get("/self-service/login/api")).json()["id"]

        async def give(**fields: str) -> httpx2.Response:
            form = {"method": "code", "identifier": ADA, **fields}
            return await app.post(f"/self-service/login?flow={flow}", json=form)

        await give()
        [mail, *_] = await stage.scene.mails()
        [code] = re.findall(r"\b\d{6}\b", mail.body)
        statuses = [(await give(code=typed)).status_code for typed in (other_than(code), other_than(code), code, code)]
        assert statuses[:2] == [400, 400]
        assert 200 not in statuses
        assert await stage.scene.rows("sessions") == []
        ended = {str(row["id"]).replace("-", ""): row["finished_at"] for row in await stage.scene.rows("flows")}
        assert len(ended) == 2
        assert ended.pop(flow.replace("-", "")) is not None
        assert [*ended.values()] == [None]


async def test_codes_that_are_tried_at_once_are_counted_in_the_flow_and_by_the_throttle(
    staging: Staging, dsn: str
) -> None:
    """The throttle is asked first, then the flow counts; neither lets more codes through because they come together."""
    methods = {"methods": {"code": {"passwordless_enabled": True, "config": {"max_submissions": 3}}}}
    loose = {"login": {"failures": 100, "per_ip": "1000/minute"}}
    async with staging(dsn, selfservice=methods, throttle=loose) as stage:
        await stage.customer("ada", email=ADA)
        browser = await stage.scene.browser()
        shown = await browser.send_flow(await browser.open_flow("login"), {"method": "code", "identifier": ADA})
        form = {"method": "code", "identifier": ADA, "code": "wrong"}
        answers = await asyncio.gather(*(browser.send_flow(shown.json(), form) for _ in range(12)))
        [row, *_] = [each for each in await stage.scene.rows("flows") if each["attempts"]]
        assert row["attempts"] == 3
        failures = [row for row in await stage.scene.rows("audit_events") if row["action"] == "sign_in.failed"]
        assert len(failures) == 3
        assert {answer.status_code for answer in answers} <= {400, 410}
