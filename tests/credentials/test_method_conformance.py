"""What every credential method promises through its port.

A new method is added to `BENCHES` of `bench.py`, with the way to drive it.
"""

import inspect
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from shopkeeper.credentials.method import (
    CallbackMethod,
    LoginMethod,
    RegistrationMethod,
    SettingsMethod,
)
from shopkeeper.credentials.steps import AnyStep, Ask, Enrolment, Form, Proof, Redirect, SubmissionRejected
from shopkeeper.errors import Refusal
from shopkeeper.identity.builder import NewIdentity
from shopkeeper.identity.values import Aal
from shopkeeper.ui.nodes import Node
from tests.attacks.scene import csrf_of
from tests.credentials.bench import BENCHES, UNKNOWN, Bench, Talk
from tests.credentials.social import section
from tests.flows.conftest import Staging
from tests.flows.watching import statements
from tests.openid.scripted import ScriptedProvider

ADA = "ada@example.org"
UNTHROTTLED = {
    "login": {"per_ip": "100000/minute", "failures": 1_000},
    "code": {"per_ip": "100000/minute", "per_recipient": "100000/hour", "per_pair": "100000/hour"},
    "registration": {"per_ip": "100000/minute"},
}
ODD: Sequence[Any] = (
    None,
    True,
    7,
    1e308,
    10**400,
    [],
    ["a"],
    [[[[]]]],
    {},
    {"a": {"b": 1}},
    "",
    " ",
    "a" * 10_000,
    "\x00",
    "a\x00b@example.org",
    "\ud800",
    "ada\udfff@example.org",
    "\u202e" + ADA,
    "ＡＤＡ@example.org",
    "%00' OR 1=1 --",
)
NO_SECRETS = {"method", "traits", "identifier", "address", "provider"}
"""Fields that a form shows again, and a provider's name."""
WRITES = re.compile(r"INSERT INTO|UPDATE|DELETE FROM")


@pytest.fixture(params=BENCHES, ids=lambda bench: bench.name)
async def bench(
    request: pytest.FixtureRequest, staging: Staging, sqlite_dsn: str, idp: ScriptedProvider
) -> AsyncIterator[Bench]:
    """Every method on SQLite."""
    async with staging(sqlite_dsn, **settings_with(idp)) as stage:
        yield request.param(stage, idp)


@pytest.fixture(params=BENCHES, ids=lambda bench: bench.name)
async def either_bench(
    request: pytest.FixtureRequest, staging: Staging, dsn: str, idp: ScriptedProvider
) -> AsyncIterator[Bench]:
    """Every method on SQLite and on PostgreSQL."""
    async with staging(dsn, **settings_with(idp)) as stage:
        yield request.param(stage, idp)


def settings_with(idp: ScriptedProvider) -> dict[str, Any]:
    """Return the settings, with a provider of social sign-in."""
    oidc = {"enabled": True, "config": {"providers": [section(idp, "idp", "Example IdP")]}}
    return {
        "throttle": UNTHROTTLED,
        "selfservice": {
            "methods": {"code": {"passwordless_enabled": True}, "oidc": oidc},
            "flows": {"registration": {"style": "unified"}},
        },
    }


def forms_of(bench: Bench) -> Sequence[str]:
    """Return the kinds of flow in which the method has a form."""
    kinds = {"login": LoginMethod, "registration": RegistrationMethod, "settings": SettingsMethod}
    return [kind for kind, protocol in kinds.items() if isinstance(bench.method, protocol)]


async def every_form(bench: Bench) -> Sequence[Form]:
    """Return each form that the method can show: of every kind, for browsers and apps, anonymous and confirming."""
    ada = await bench.customer(ADA)
    talks = [
        bench.talk(native=native, identity=identity, aal=aal)
        for native in (False, True)
        for identity in (None, ada)
        for aal in (bench.method.aals if identity else [Aal.AAL1])
    ]
    forms = [await talk.form(kind) for kind in forms_of(bench) for talk in talks if kind != "settings" or talk.identity]
    asked = [await bench.first_step(email, bench.talk()) for email in (ADA, UNKNOWN) if bench.name != "password"]
    return [*forms, *(step.form for step in asked if isinstance(step, Ask))]


def texts_of(step: AnyStep | BaseException) -> str:
    """Return all texts that a step or an error gives out, except to the database: nodes, messages, context,
    addresses."""
    if isinstance(step, BaseException):
        more = [step.__cause__, step.__context__]
        return repr((step, step.args, vars(step))) + "".join(texts_of(each) for each in more if each is not None)
    form = getattr(step, "form", None)
    parts = [
        [node.to_wire() for node in form.nodes] if form else [],
        dict(form.context) if form else {},
        [each.to_wire() for each in getattr(step, "messages", ())],
        dict(getattr(step, "context", {})),
        getattr(step, "url", ""),
        [dict(credential.config) for credential in getattr(step, "credentials", ())],
        repr(step),
    ]
    return json.dumps(parts, default=str)


def outline(step: AnyStep | SubmissionRejected, *, without: str) -> Any:
    """Return what a client can see of a step, without the identifier that it sent and without random values."""
    if isinstance(step, SubmissionRejected):
        fields = [(each.name, each.message.id) for each in step.fields]
        return ("rejected", [each.id for each in step.general], fields, step.filled)
    if isinstance(step, Redirect):
        return ("redirect", step.url.partition("?")[0], sorted(step.context))
    assert isinstance(step, Ask)
    nodes = json.dumps([node.to_wire() for node in step.form.nodes]).replace(without, "")
    said = [each.id for each in step.messages]
    return ("ask", step.status, step.state, step.active, said, nodes, sorted(step.form.context), step.form.scope)


class TestFacts:
    def test_are_those_of_its_own_credential_type(self, bench: Bench) -> None:
        method = bench.method
        assert method.facts.type == method.name == bench.name
        assert re.fullmatch(r"[a-z][a-z0-9_]{0,31}", method.name)

    def test_say_that_it_can_do_something_and_at_which_level(self, bench: Bench) -> None:
        protocols = [LoginMethod, RegistrationMethod, SettingsMethod, CallbackMethod]
        assert any(isinstance(bench.method, protocol) for protocol in protocols)
        if isinstance(bench.method, LoginMethod):
            assert bench.method.aals <= set(Aal)
            assert bench.method.aals

    def test_agree_with_the_level_that_it_gives(self, bench: Bench) -> None:
        facts = bench.method.facts
        assert (Aal.AAL1 in bench.method.aals) == facts.first_factor
        assert facts.first_factor or facts.second_factor

    def test_the_methods_verbs_take_the_arguments_of_the_port(self, bench: Bench) -> None:
        """`runtime_checkable` checks names only."""
        for verb in ("login_form", "submit_login", "registration_form", "submit_registration", "callback"):
            implemented = getattr(bench.method, verb, None)
            if implemented is not None:
                wanted = "view" if verb.endswith("_form") else "input"
                assert list(inspect.signature(implemented).parameters) == ["unit", wanted]
                assert inspect.iscoroutinefunction(implemented)


class TestForms:
    async def test_have_nodes_of_its_group(self, bench: Bench) -> None:
        for form in await every_form(bench):
            allowed = {bench.name} if form.scope == "group" else {bench.name, "default"}
            assert {node.group for node in form.nodes} <= allowed
            assert any(node.group == bench.name for node in form.nodes)

    async def test_survive_being_stored(self, bench: Bench) -> None:
        for form in await every_form(bench):
            stored = json.loads(json.dumps([node.to_wire() for node in form.nodes]))
            assert tuple(Node.from_wire(wire) for wire in stored) == tuple(form.nodes)
            assert json.loads(json.dumps(form.context)) == form.context

    async def test_can_be_sent_with_a_button_that_leads_back_to_the_method(self, bench: Bench) -> None:
        for form in await every_form(bench):
            buttons = [node for node in form.nodes if node.attributes.get("type") == "submit"]
            assert buttons
            assert all(node.value for node in buttons)
            named = [node.value for node in form.nodes if node.name == "method"]
            assert set(named) <= {bench.name}

    async def test_prefill_nothing_that_is_secret(self, bench: Bench) -> None:
        for form in await every_form(bench):
            assert not [node for node in form.nodes if node.attributes.get("type") == "password" and node.value]


class TestReading:
    async def test_forms_write_nothing(self, either_bench: Bench) -> None:
        bench = either_bench
        ada = await bench.customer(ADA)
        with statements(bench.stage.scene) as seen:
            for kind in forms_of(bench):
                await bench.talk(identity=ada).form(kind)
        assert [each for each in seen if WRITES.match(each)] == []

    async def test_submissions_write_nothing_before_dispatch(self, either_bench: Bench) -> None:
        """A right one, a first one and a registration, each in a unit that only reads."""
        bench = either_bench
        ada = await bench.customer(ADA)
        talk, submitted, _ = await bench.secrets(ADA)
        with statements(bench.stage.scene) as seen:
            proof = await talk.login(**submitted)
            await bench.talk().register(
                {"email": "bea@example.org"}, password="a stove under the fig tree", **bench.registers_with
            )
        assert isinstance(proof, Proof)
        assert proof.identity_id == ada.id
        assert [each for each in seen if WRITES.match(each)] == []

    async def test_a_wrong_submission_leaves_an_audit_event_and_nothing_else(self, either_bench: Bench) -> None:
        bench = either_bench
        await bench.customer(ADA)
        talk = await bench.asked(ADA)
        wrong: dict[str, Any] = {"identifier": ADA, "password": "a guess", "code": "000000", "word": "a guess"}
        with statements(bench.stage.scene) as seen, suppress(SubmissionRejected):
            await talk.login(**wrong)
        written = [each for each in seen if WRITES.match(each)]
        assert [each.split()[2] for each in written] in ([], ["audit_events"])


class TestAProof:
    async def test_is_of_the_account_and_the_method(self, either_bench: Bench) -> None:
        ada = await either_bench.customer(ADA)
        proof = await either_bench.prove(ada)
        assert (proof.identity_id, proof.method) == (ada.id, either_bench.name)
        assert proof.aal in either_bench.method.aals

    async def test_is_valid_as_long_as_what_was_proven_stands(self, either_bench: Bench) -> None:
        bench = either_bench
        ada = await bench.customer(ADA)
        proof = await bench.prove(ada)
        assert proof.still_valid(await bench.read(ada)) is True
        async with bench.stage.scene.application.infrastructure.database.unit() as unit:
            await bench.identities.replace(unit, ada.id, NewIdentity(traits={"email": ADA}, metadata_admin={"vip": 1}))
        assert proof.still_valid(await bench.read(ada)) is True

    async def test_is_valid_after_its_own_effect(self, either_bench: Bench) -> None:
        """What the proof itself writes, such as a rehash or a counter, does not end it for a second sign-in at once."""
        bench = either_bench
        ada, talk = await bench.customer(ADA), bench.talk()
        await bench.prove(ada, talk)
        await talk.commit()
        again = await bench.prove(ada)
        assert again.still_valid(await bench.read(ada)) is True

    @pytest.mark.parametrize("change", ["changed_credential", "removed_credential"])
    async def test_is_not_valid_once_its_credential_is_another_or_gone(self, either_bench: Bench, change: str) -> None:
        bench = either_bench
        ada = await bench.customer(ADA)
        proof = await bench.prove(ada)
        await getattr(bench, change)(ada)
        assert proof.still_valid(await bench.read(ada)) is False

    async def test_without_credentials_is_valid_only_where_it_proves_an_address(self, bench: Bench) -> None:
        ada = await bench.customer(ADA)
        proof = await bench.prove(ada)
        async with bench.stage.scene.application.infrastructure.database.reading() as unit:
            bare = await bench.identities.require(unit, ada.id, credentials=False)
        assert proof.still_valid(bare) is bench.proves_an_address

    async def test_a_proof_of_one_account_is_never_given_for_another(self, bench: Bench) -> None:
        """In a flow that confirms Bea's session, what proves Ada gives no proof of Bea."""
        ada, bea = await bench.customer(ADA), await bench.customer("bea@example.org")
        talk, submitted, _ = await bench.secrets(ADA)
        talk.identity = bea
        step: Any = None
        with suppress(SubmissionRejected):
            step = await talk.login(**submitted)
        assert not isinstance(step, Proof) or step.identity_id == ada.id


class TestAnUnknownAccount:
    """Enumeration is mitigated: the answer and its cost are those for a known account."""

    async def test_gets_the_same_step_after_the_same_work(self, either_bench: Bench) -> None:
        bench = either_bench
        await bench.customer(ADA)
        known, unknown = [await self._watched(bench, email) for email in (ADA, UNKNOWN)]
        assert known == unknown

    async def test_gets_the_same_step_at_the_next_submission_too(self, either_bench: Bench) -> None:
        bench = either_bench
        await bench.customer(ADA)
        known, unknown = [await self._watched(bench, email, asked=True) for email in (ADA, UNKNOWN)]
        assert known == unknown

    async def _watched(self, bench: Bench, email: str, *, asked: bool = False) -> Any:
        """Return the outline of a step, the statements that it took and the passwords that it hashed."""
        talk = await bench.asked(email) if asked else bench.talk()
        hasher = bench.stage.scene.application.accounts.hasher
        before = hasher.computed
        with statements(bench.stage.scene) as seen:
            try:
                if asked:
                    wrong = {"identifier": email, "password": "a guess", "code": "no code", "word": "a guess"}
                    step: Any = await talk.login(**wrong)
                else:
                    step = await bench.first_step(email, talk)
            except SubmissionRejected as rejected:
                step = rejected
            read = len(seen)
            if not isinstance(step, SubmissionRejected):
                await talk.commit()
        return outline(step, without=email), seen[:read], len(seen[read:]) > 0, hasher.computed - before


class TestOddSubmissions:
    """A malformed submission raises `SubmissionRejected` or a refusal, and nothing else."""

    async def test_odd_submissions_of_a_login_raise_refusals_only(self, bench: Bench) -> None:
        await bench.customer(ADA)
        for talk in (bench.talk(), await bench.asked(ADA)):
            for name in bench.fields:
                for odd in ODD:
                    await self._survives(talk, "login", {"identifier": ADA, "password": "a", name: odd})

    async def test_odd_submissions_of_a_registration_raise_refusals_only(self, bench: Bench) -> None:
        for talk in (bench.talk(), await bench.asked(ADA)):
            for name in set(bench.fields) - {"traits"}:
                for odd in ODD:
                    await self._survives(talk, "register", {"password": "a", name: odd})

    async def test_odd_submissions_of_settings_raise_refusals_only(self, bench: Bench) -> None:
        if not isinstance(bench.method, SettingsMethod):
            pytest.skip("no settings method")
        talk = bench.talk(identity=await bench.customer(ADA))
        for name in bench.fields:
            for odd in ODD:
                await self._survives(talk, "change", {name: odd})

    async def test_odd_queries_of_a_callback_raise_refusals_only(self, bench: Bench) -> None:
        if not isinstance(bench.method, CallbackMethod):
            pytest.skip("no callback method")
        talk = bench.talk()
        for name in ("code", "state", "error", "iss", "id_token"):
            for odd in ODD:
                if isinstance(odd, str):
                    with suppress(SubmissionRejected, Refusal):
                        await talk.come_back({name: odd})

    async def _survives(self, talk: Talk, verb: str, submitted: dict[str, Any]) -> None:
        """Each odd value meets the same flow: the context from before is put back."""
        context, shown, attempts = talk.context, talk.shown, talk.attempts
        with suppress(SubmissionRejected, Refusal):
            if verb == "register":
                step = await talk.register({"email": "bea@example.org"}, **submitted)
            else:
                step = await getattr(talk, verb)(**submitted)
            json.dumps(texts_of(step))
        talk.context, talk.shown, talk.attempts = context, shown, attempts


class TestSecrets:
    async def test_secrets_of_a_right_submission_are_in_no_output(self, bench: Bench) -> None:
        await bench.customer(ADA)
        talk, submitted, secrets = await bench.secrets(ADA)
        with capture_logs() as logs:
            step = await talk.login(**submitted)
        assert isinstance(step, Proof)
        self._stand_nowhere(secrets, texts_of(step), repr(logs), repr(talk.context))

    async def test_secrets_of_a_submission_that_fails_are_in_no_output(self, bench: Bench) -> None:
        """The right secret for another account, or one that is no longer right."""
        ada = await bench.customer(ADA)
        talk, submitted, secrets = await bench.secrets(ADA)
        await bench.changed_credential(ada)  # type: ignore[attr-defined]
        with capture_logs() as logs:
            try:
                step: Any = await talk.login(**submitted)
            except (SubmissionRejected, Refusal) as refused:
                step = refused
        self._stand_nowhere(secrets, texts_of(step), repr(logs), repr(talk.context))
        self._stand_nowhere(secrets, repr(await bench.stage.scene.rows("audit_events")))

    async def test_secrets_of_a_registration_are_hashed_or_sealed(self, bench: Bench) -> None:
        secret = "a stove under the fig tree"
        sent = {"password": secret, **bench.registers_with}
        step = await bench.talk().register({"email": "bea@example.org"}, **sent)
        assert isinstance(step, Enrolment | Ask | Redirect)
        self._stand_nowhere([secret], texts_of(step))
        if isinstance(step, Enrolment):
            assert step.method == bench.name
            assert {credential.type for credential in step.credentials} <= {bench.name}
            assert step.traits == {"email": "bea@example.org"}

    async def test_secrets_are_neither_in_the_flow_nor_in_the_answer_after_a_mistake(self, bench: Bench) -> None:
        """Through the whole pipeline, which fills forms again with what was typed."""
        browser, secret = await bench.stage.scene.browser(), "a-very-secret-313373"
        flow = await browser.open_flow("login")
        fields = {name: secret for name in bench.fields if name not in NO_SECRETS}
        with capture_logs() as logs:
            answer = await browser.post(
                flow["ui"]["action"],
                json={"method": bench.name, "identifier": ADA, "csrf_token": csrf_of(flow), **fields},
                headers={"accept": "application/json"},
            )
        assert answer.status_code in {400, 422}
        self._stand_nowhere([secret], answer.text, repr(logs), repr(await bench.stage.scene.rows("flows")))

    def _stand_nowhere(self, secrets: Sequence[str], *places: str) -> None:
        for place in places:
            for secret in secrets:
                assert secret not in place
