"""The pipeline: what a submission reads, what is open while it waits, and what commits."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import text

from shopkeeper import crypto
from shopkeeper.clock import StoppedClock
from shopkeeper.credentials.hashes import Hasher
from shopkeeper.credentials.steps import SubmissionRejected
from shopkeeper.errors import Forbidden
from shopkeeper.flows import stored_errors
from shopkeeper.flows.form_filling import flatten
from shopkeeper.http.authentication import RequestCredentials
from shopkeeper.http.cookies import cookies_in
from shopkeeper.identity.builder import NewIdentity
from shopkeeper.identity.values import State
from shopkeeper.sessions.values import Session
from shopkeeper.signin.hooks import HookOrigin, HookSubject, Refuse
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import message
from tests.attacks.scene import PASSWORD, Browser, csrf_of, new_address, sign_in, sign_up, submit
from tests.conftest import NOW
from tests.flows.conftest import JSON, Stage, Staging
from tests.flows.test_callbacks import flow_of, messages, refused
from tests.flows.travelling_method import TRAVEL
from tests.flows.watching import at_each_call, reads_of, statements, transaction_open

WRONG, CODE_WRONG = 4000006, 4010008
IDENTITY = ("identities", "credentials", "verifiable_addresses")


@dataclass
class Hook:
    """A blocking hook that remembers its subjects, does what the test wants, and returns what the test sets."""

    answer: Refuse | Mapping[str, Any] | None = None
    do: Callable[[HookSubject], Any] | None = None
    seen: list[HookSubject] = field(default_factory=list)
    inside_transaction: list[bool] = field(default_factory=list)

    async def __call__(self, subject: HookSubject) -> Refuse | Mapping[str, Any] | None:
        self.seen.append(subject)
        self.inside_transaction.append(transaction_open())
        if self.do is not None:
            await self.do(subject)
        return self.answer


async def leave_a_trace(unit: Unit) -> None:
    """Make a local write that can be found again."""
    await stored_errors.keep(unit, {"trace": True}, clock=StoppedClock(NOW))


async def traces(stage: Stage) -> int:
    return sum("trace" in str(row["error"]) for row in await stage.scene.rows("flow_errors"))


def refuse() -> Refuse:
    return Refuse(Forbidden("The shop says no."), effect=leave_a_trace)


async def registered(stage: Stage) -> tuple[Browser, str, UUID]:
    """Register an account with a password; return a browser that is not signed in, the address and the id."""
    browser, email = await stage.scene.browser(), new_address()
    answer = await browser.sign_up(email)
    browser.cookies.clear()
    return browser, email, UUID(answer.json()["identity"]["id"])


async def asked_for_a_word(stage: Stage, browser: Browser) -> dict[str, Any]:
    """Open a login flow whose form asks for the word that proves Ada: plum."""
    stage.provider.says("ask", subject="ada", word="plum")
    answer = await browser.get(await stage.leave(browser, "login"))
    return await stage.flow(browser, "login", flow_of(answer))


class TestReading:
    """`POST /self-service/login`, from the route to the cookie."""

    async def test_a_sign_in_reads_flow_and_identity_once_and_the_identity_again_under_the_lock(
        self, either_stage: Stage
    ) -> None:
        browser, email, _ = await registered(either_stage)
        flow = await browser.open_flow("login")
        with statements(either_stage.scene) as seen:
            answer = await browser.send_flow(flow, {"identifier": email, "password": PASSWORD})
        assert answer.status_code == 200
        assert len(reads_of("flows", seen)) == 1
        on_postgresql = either_stage.scene.application.infrastructure.database.kind == "postgresql"
        locked = {"identities": 1} if on_postgresql else {}  # SQLite's transaction is the lock
        assert {table: len(reads_of(table, seen)) - locked.get(table, 0) for table in IDENTITY} == dict.fromkeys(
            IDENTITY, 2
        )
        lock = next(number for number, each in enumerate(seen) if each.startswith("UPDATE flows"))
        assert [table for table in IDENTITY if reads_of(table, seen[lock:])] == list(IDENTITY)
        assert [each for each in seen[:lock] if each.startswith(("INSERT", "UPDATE", "DELETE"))] == []

    @pytest.mark.parametrize("client", ["html", "spa", "native"])
    async def test_a_failed_submission_reads_its_flow_once(self, stage: Stage, client: str) -> None:
        browser, email, _ = await registered(stage)
        app = await stage.scene.native()
        flow = (await app.get("/self-service/login/api")).json() if client == "native" else None
        flow = flow or await browser.open_flow("login")
        wrong = {"method": "password", "identifier": email, "password": "a wrong guess", "csrf_token": csrf_of(flow)}
        with statements(stage.scene) as seen:
            if client == "html":
                answer = await browser.post(flow["ui"]["action"], data=wrong)
            else:
                answer = await (app if client == "native" else browser).post(
                    flow["ui"]["action"], json=wrong, headers=JSON
                )
        assert answer.status_code == (303 if client == "html" else 400)
        assert len(reads_of("flows", seen)) == 1
        assert {table: len(reads_of(table, seen)) for table in IDENTITY} == dict.fromkeys(IDENTITY, 1)

    async def test_a_request_reads_cookies_and_session_once(self, staging: Staging, sqlite_dsn: str) -> None:
        async with staging(sqlite_dsn) as stage:
            browser, email, _ = await registered(stage)
            await browser.sign_in(email)
            flow = await browser.open_flow("login", "?refresh=true")
            cookies = dict(browser.cookies)
        async with staging(sqlite_dsn) as stage:  # another process, which has not read the session yet
            browser, parsed, read = await stage.scene.browser(), list[int](), list[int]()
            browser.cookies.update(cookies)
            headers = at_each_call(RequestCredentials.__init__, lambda: read.append(1))
            with statements(stage.scene) as seen, headers, at_each_call(cookies_in, lambda: parsed.append(1)):
                answer = await browser.send_flow(flow, {"identifier": email, "password": PASSWORD})
        assert answer.status_code == 200
        assert len(parsed) == 1
        assert sum("sessions.token_hash" in each for each in seen if each.startswith("SELECT")) == 1


class TestWhileNothingIsOpen:
    async def test_a_password_is_hashed_while_no_transaction_is_open(self, either_stage: Stage) -> None:
        stage, app, opened = either_stage, await either_stage.scene.native(), list[bool]()
        email = new_address()
        with at_each_call(Hasher._submit, lambda: opened.append(transaction_open())):
            await sign_up(app, email)
            assert len(opened) == 1
            await self._outdate(stage)
            assert (await sign_in(app, email)).status_code == 200
            assert len(opened) == 3, "verified, and hashed anew"
            await sign_in(app, email, "a wrong guess")
            await sign_in(app, "unknown@example.org", "a wrong guess")
        assert opened == [False] * 5

    async def test_a_blocking_hook_runs_while_no_transaction_is_open(self, either_stage: Stage) -> None:
        hook = Hook()
        either_stage.blocking.append(hook)
        app, email = await either_stage.scene.native(), new_address()
        await sign_up(app, email)
        await sign_in(app, email)
        assert [subject.flow for subject in hook.seen] == ["registration", "login"]
        assert hook.inside_transaction == [False, False]

    async def test_another_server_is_called_while_no_transaction_is_open(self, signing_in: Stage) -> None:
        """The guarded client raises where a transaction is open; here it sends, and gets an answer."""
        browser, hook = await signing_in.scene.browser(), Hook()
        signing_in.blocking.append(hook)
        hook.do = lambda subject: signing_in.method._http.request("GET", signing_in.provider.url + "/")
        signing_in.provider.says("arrive", subject="bea")
        await browser.get(await signing_in.leave(browser, "login"))
        assert await browser.whoami() is not None
        assert signing_in.provider.questions == 1
        assert sum(head.startswith("GET / ") for head in signing_in.provider.server.heads) == 1

    async def _outdate(self, stage: Stage) -> None:
        """Replace the stored hash by one with other parameters."""
        from argon2 import PasswordHasher

        hashed = PasswordHasher(time_cost=1, memory_cost=16, parallelism=1).hash(PASSWORD)
        accounts, database = stage.scene.application.accounts, stage.scene.application.infrastructure.database
        [row] = await stage.scene.rows("identities")
        async with database.unit() as unit:
            identity = UUID(str(row["id"]))
            await accounts.identities.set_credential_config(unit, identity, "password", {"hashed_password": hashed})


class TestBlockingHooks:
    async def test_see_the_real_id_of_a_new_identity_and_its_traits(self, stage: Stage) -> None:
        hook, app, email = Hook(), await stage.scene.native(), new_address()
        stage.blocking.append(hook)
        created = await sign_up(app, email)
        [subject] = hook.seen
        assert (str(subject.identity_id), subject.traits) == (created["identity"]["id"], {"email": email})
        assert (subject.flow, subject.method) == ("registration", "password")

    async def test_may_change_traits_from_which_identifiers_follow(self, either_stage: Stage) -> None:
        stage, app = either_stage, await either_stage.scene.native()
        stage.blocking.append(Hook({"email": "other@example.org"}))
        created = await sign_up(app, "ada@example.org")
        assert created["identity"]["traits"] == {"email": "other@example.org"}
        stage.blocking.clear()
        assert (await sign_in(app, "other@example.org")).status_code == 200
        assert (await sign_in(app, "ada@example.org")).status_code == 400

    async def test_see_what_the_one_before_has_changed(self, stage: Stage) -> None:
        second = Hook()
        stage.blocking.extend([Hook({"email": "other@example.org"}), second])
        created = await sign_up(await stage.scene.native(), "ada@example.org")
        assert second.seen[0].traits == created["identity"]["traits"] == {"email": "other@example.org"}

    @pytest.mark.parametrize("traits", [{"email": "no address"}, {"email": 5}, {"email": ["a"]}, {"other": 1}, {}])
    async def test_traits_that_a_hook_makes_invalid_create_nothing(
        self, stage: Stage, traits: Mapping[str, Any]
    ) -> None:
        stage.blocking.append(Hook(traits))
        registration = {"method": "password", "password": PASSWORD, "traits": {"email": "ada@example.org"}}
        answer = await submit(await stage.scene.native(), "registration", registration)
        assert answer.status_code == 400
        assert await stage.scene.rows("identities") == []

    async def test_traits_that_a_hook_changes_to_taken_ones_are_answered_like_the_form(self, stage: Stage) -> None:
        app = await stage.scene.native()
        await sign_up(app, "ada@example.org")
        stage.blocking.append(Hook({"email": "ada@example.org"}))
        registration = {"method": "password", "password": PASSWORD, "traits": {"email": "bea@example.org"}}
        answer = await submit(app, "registration", registration)
        assert (answer.status_code, messages(answer.json())) == (400, [4000007])

    async def test_the_hooks_of_a_login_run_where_a_registration_flow_signs_in(self, stage: Stage) -> None:
        """Regression: they did not run, so a registration form was a way around them."""
        await stage.customer("ada")
        hook, browser = Hook(), await stage.scene.browser()
        stage.blocking.append(hook)
        stage.provider.says("arrive", subject="ada")
        await browser.get(await stage.leave(browser, "registration", traits={"email": new_address()}))
        assert [subject.flow for subject in hook.seen] == ["login"]

    async def test_the_hooks_of_a_registration_run_where_a_login_flow_registers(self, stage: Stage) -> None:
        hook, browser = Hook(), await stage.scene.browser()
        stage.blocking.append(hook)
        stage.provider.says("arrive", subject="bea")
        await browser.get(await stage.leave(browser, "login"))
        assert [subject.flow for subject in hook.seen] == ["registration"]


class TestARefusalOfAHook:
    """Its effect commits, the session does not."""

    @pytest.mark.parametrize("kind", ["blocking", "sign-in"])
    async def test_a_refusal_at_a_login_commits_its_effect_and_no_session(self, either_stage: Stage, kind: str) -> None:
        stage = either_stage
        browser, email, identity = await registered(stage)
        sessions = len(await stage.scene.rows("sessions"))
        self._refuse(stage, kind)
        flow = await browser.open_flow("login")
        answer = await browser.send_flow(flow, {"identifier": email, "password": PASSWORD})
        assert (answer.status_code, answer.headers["x-error-code"]) == (403, "forbidden")
        assert await traces(stage) == 1
        assert (len(await stage.scene.rows("sessions")), browser.session_cookie) == (sessions, None)
        [event] = await stage.events("sign_in.failed")
        assert (event.subject, event.details["reason"]) == (str(identity), "forbidden")
        self._allow(stage)
        again = await browser.send_flow(flow, {"identifier": email, "password": PASSWORD})
        assert again.status_code == 200, "the flow was not used up"

    @pytest.mark.parametrize("kind", ["blocking", "sign-in"])
    async def test_a_refusal_at_a_registration_commits_its_effect_and_no_session(
        self, either_stage: Stage, kind: str
    ) -> None:
        stage, app = either_stage, await either_stage.scene.native()
        self._refuse(stage, kind)
        registration = {"method": "password", "password": PASSWORD, "traits": {"email": "ada@example.org"}}
        answer = await submit(app, "registration", registration)
        assert (answer.status_code, answer.headers["x-error-code"]) == (403, "forbidden")
        assert await traces(stage) == 1
        assert (await stage.scene.rows("identities"), await stage.scene.rows("sessions")) == ([], [])
        assert await stage.scene.mails() == []

    async def test_a_refusal_at_the_storefront_commits_its_effect_and_no_session(self, stage: Stage) -> None:
        _, email, _ = await registered(stage)
        self._refuse(stage, "blocking")
        app = await stage.scene.native()
        await app.post("/signin", json={"username": email, "password": PASSWORD})
        assert await traces(stage) == 1

    def _refuse(self, stage: Stage, kind: str) -> None:
        async def say_no(unit: Unit, *, session: Session, origin: HookOrigin) -> Refuse:
            return refuse()

        if kind == "blocking":
            stage.blocking.append(Hook(refuse()))
        else:
            stage.after.append(say_no)

    def _allow(self, stage: Stage) -> None:
        stage.blocking.clear()
        stage.after.clear()


class TestAStaleProof:
    """A proof that was right when it was checked, and is not under the lock any more. A blocking hook runs in
    between."""

    @pytest.mark.parametrize(
        ("change", "status", "reason"),
        [
            ("password", 400, "wrong_credentials"),
            ("password removed", 400, "wrong_credentials"),
            ("switched off", 401, "identity_disabled"),
            ("deleted", 400, "wrong_credentials"),
        ],
    )
    async def test_is_refused_and_leaves_an_audit_event(
        self, either_stage: Stage, change: str, status: int, reason: str
    ) -> None:
        stage = either_stage
        _, email, identity = await registered(stage)
        other = await stage.scene.browser()

        async def meanwhile(subject: HookSubject) -> None:
            await self._change(stage, identity, email, change)

        stage.blocking.append(Hook(do=meanwhile))
        flow = await other.open_flow("login")
        answer = await other.send_flow(flow, {"identifier": email, "password": PASSWORD})
        assert answer.status_code == status, answer.text
        if status == 400:
            assert messages(answer.json()) == [WRONG]
            assert messages(await stage.flow(other, "login", flow["id"])) == [WRONG]
        [event] = await stage.events("sign_in.failed")
        assert (event.subject, event.outcome, event.details["reason"]) == (str(identity), "refused", reason)
        assert other.session_cookie is None
        assert [row for row in await stage.scene.rows("sessions") if row["active"]] == []

    async def _change(self, stage: Stage, identity: UUID, email: str, change: str) -> None:
        identities, database = (
            stage.scene.application.accounts.identities,
            stage.scene.application.infrastructure.database,
        )
        async with database.unit() as unit:
            if change == "deleted":
                await identities.delete(unit, identity)
            elif change == "password removed":
                await identities.delete_credential(unit, identity, "password")
            elif change == "password":
                config = {"hashed_password": await stage.scene.application.accounts.hasher.hash("another kettle")}
                await identities.set_credential_config(unit, identity, "password", config)
            else:
                await identities.replace(unit, identity, NewIdentity(traits={"email": email}, state=State.INACTIVE))
        async with database.unit() as unit:
            await unit.write(text("UPDATE sessions SET active = false"))


class TestCommitting:
    async def test_an_ask_commits_its_effect_and_its_form(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        flow = await asked_for_a_word(stage, browser)
        stage.method.effect = leave_a_trace
        answer = await browser.send_flow(flow, {"method": TRAVEL, "word": "pear"})
        assert (answer.status_code, messages(answer.json())) == (400, [CODE_WRONG])
        assert await traces(stage) == 1
        assert messages(await stage.flow(browser, "login", flow["id"])) == [CODE_WRONG]

    async def test_a_rejected_submission_rolls_back_and_shows_the_form(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        await stage.customer("ada")
        flow = await asked_for_a_word(stage, browser)

        async def write_and_reject(unit: Unit) -> None:
            await leave_a_trace(unit)
            raise SubmissionRejected(message(WRONG))

        stage.method.effect = write_and_reject
        answer = await browser.send_flow(flow, {"method": TRAVEL, "word": "plum"})
        assert (answer.status_code, messages(answer.json())) == (400, [WRONG])
        assert messages(await stage.flow(browser, "login", flow["id"])) == [WRONG]
        assert (await traces(stage), browser.session_cookie) == (0, None)

    async def test_an_ask_whose_effect_rejects_rolls_back_too(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        flow = await asked_for_a_word(stage, browser)

        async def write_and_reject(unit: Unit) -> None:
            await leave_a_trace(unit)
            raise SubmissionRejected(message(WRONG))

        stage.method.effect = write_and_reject
        answer = await browser.send_flow(flow, {"method": TRAVEL, "word": "pear"})
        assert (answer.status_code, messages(answer.json())) == (400, [WRONG])
        assert await traces(stage) == 0


class TestTwoAtOnce:
    async def test_of_two_forms_one_is_stored_and_the_other_shows_what_stands(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        flow = await asked_for_a_word(stage, browser)
        both = asyncio.Barrier(2)

        async def wait() -> None:
            await both.wait()

        stage.method.before_step, stage.method.effect = wait, leave_a_trace
        wrong = [browser.send_flow(flow, {"method": TRAVEL, "word": word}) for word in ("pear", "fig")]
        answers = await asyncio.gather(*wrong)
        assert [answer.status_code for answer in answers] == [400, 400]
        assert [messages(answer.json()) for answer in answers] == [[CODE_WRONG]] * 2
        assert await traces(stage) == 1, "the effect of the other one is rolled back"
        [row] = await stage.scene.rows("flows")
        assert row["attempts"] == 2

    async def test_of_two_proofs_one_signs_in(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        await stage.customer("ada")
        flow = await asked_for_a_word(stage, browser)
        both = asyncio.Barrier(2)

        async def wait() -> None:
            await both.wait()

        stage.method.before_step = wait
        answers = await asyncio.gather(*(browser.send_flow(flow, {"method": TRAVEL, "word": "plum"}) for _ in range(2)))
        assert sorted(answer.status_code for answer in answers) == [200, 410]
        assert len(await stage.scene.rows("sessions")) == 1

    async def test_of_codes_that_are_sent_at_once_the_newest_mail_is_the_one_that_works(
        self, staging: Staging, dsn: str
    ) -> None:
        codes = {"methods": {"code": {"passwordless_enabled": True}}}
        async with staging(dsn, selfservice=codes) as stage:
            await stage.customer("ada", email="ada@example.org")
            browser = await stage.scene.browser()
            flow = await browser.open_flow("login")
            form = {"method": "code", "identifier": "ada@example.org"}
            answers = await asyncio.gather(*(browser.send_flow(flow, form) for _ in range(3)))
            assert {answer.status_code for answer in answers} == {400}
            sent = [self._code(mail) for mail in await stage.scene.mails()]
            [row] = await stage.scene.rows("flows")
            assert row["version"] == len(sent), "each form that was stored has sent a mail, and no other one"
            worked = [await self._works(browser, answers[0], code) for code in sent]
            assert worked.count(True) == 1

    def _code(self, mail: Any) -> str:
        return next(word for word in mail.subject.split() if word.isdigit() and len(word) == 6)

    async def _works(self, browser: Browser, shown: httpx2.Response, code: str) -> bool:
        form = {"method": "code", "identifier": "ada@example.org", "code": code}
        return (await browser.send_flow(shown.json(), form)).status_code == 200

    async def test_of_two_that_must_wait_both_come_back_to_the_form(self, staging: Staging, dsn: str) -> None:
        """Regression: the second one was told that the form had done its work."""
        async with staging(dsn, throttle={"login": {"per_ip": "1/minute"}}) as stage:
            browser = await stage.scene.browser()
            flow = await browser.open_flow("login")
            wrong = {"identifier": "ada@example.org", "password": "a wrong guess"}
            await browser.send_flow(flow, wrong)
            form = {**wrong, "method": "password", "csrf_token": csrf_of(flow)}
            answers = await asyncio.gather(*(browser.post(flow["ui"]["action"], data=form) for _ in range(3)))
            assert {flow_of(answer) for answer in answers} == {flow["id"]}
            assert messages(await stage.flow(browser, "login", flow["id"])) == [4000001]


class TestMails:
    async def test_are_in_the_language_of_the_store_that_the_flow_was_opened_for(
        self, staging: Staging, sqlite_dsn: str
    ) -> None:
        """Regression: a form is sent without the query that names the store, and the default store's language was
        taken."""
        stores = [{"id": "kettle"}, {"id": "quitte", "locale": "de"}]
        codes = {"methods": {"code": {"passwordless_enabled": True}}}
        async with staging(sqlite_dsn, selfservice=codes, stores=stores, default_store="kettle") as stage:
            await stage.customer("ada", email="ada@example.org")
            browser = await stage.scene.browser()
            flow = await browser.open_flow("login", "?store=quitte")
            await browser.send_flow(flow, {"method": "code", "identifier": "ada@example.org"})
            assert [mail.locale for mail in await stage.scene.mails()] == ["de"]


class TestStartingOver:
    async def test_sends_html_to_the_replacement(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        flow = await asked_for_a_word(stage, browser)
        stage.method.guesses = 0
        answer = await browser.post(
            flow["ui"]["action"], data={"method": TRAVEL, "word": "plum", "csrf_token": csrf_of(flow)}
        )
        assert answer.status_code == 303
        fresh = await stage.flow(browser, "login", flow_of(answer))
        assert fresh["id"] != flow["id"]
        assert messages(fresh) == [CODE_WRONG]
        await self._is_dead(browser, flow)

    async def test_names_the_replacement_in_json(self, signing_in: Stage) -> None:
        stage, browser = signing_in, await signing_in.scene.browser()
        flow = await asked_for_a_word(stage, browser)
        stage.method.guesses = 0
        answer = await browser.send_flow(flow, {"method": TRAVEL, "word": "plum"})
        assert (answer.status_code, answer.json()["error"]["id"]) == (410, "self_service_flow_replaced")
        fresh = await stage.flow(browser, "login", answer.json()["use_flow_id"])
        assert messages(fresh) == [CODE_WRONG]
        await self._is_dead(browser, flow)
        stage.provider.says("arrive", subject="bea")
        await browser.get(await stage.provider.send_back(await stage.depart(browser, fresh)))
        assert await browser.whoami() is not None

    async def test_keeps_what_was_typed(self, staging: Staging, sqlite_dsn: str) -> None:
        """Regression: after too many wrong codes the address and the name had to be typed again."""
        codes = {"methods": {"code": {"passwordless_enabled": True, "config": {"max_submissions": 1}}}}
        async with staging(sqlite_dsn, selfservice=codes) as stage:
            browser = await stage.scene.browser()
            typed = {
                "login": {"identifier": "ada@example.org"},
                "registration": {"traits": {"email": "bea@example.org"}},
            }
            for kind, fields in typed.items():
                form = {"method": "code", **fields}
                flow = (await browser.send_flow(await browser.open_flow(kind), form)).json()
                for _ in range(2):
                    answer = await browser.send_flow(flow, {**form, "code": "000000"})
                fresh = await stage.flow(browser, kind, answer.json()["use_flow_id"])
                shown = [node["attributes"].get("value") for node in fresh["ui"]["nodes"]]
                assert set(flatten(fields).values()) <= set(shown)
                assert "000000" not in shown

    async def _is_dead(self, browser: Browser, flow: Mapping[str, Any]) -> None:
        answer = await browser.send_flow(flow, {"method": TRAVEL, "word": "plum"})
        assert (answer.status_code, answer.json()["error"]["id"]) == (410, "self_service_flow_expired")


class TestCountingGuesses:
    async def test_counts_parallel_guesses_exactly(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        flow = await asked_for_a_word(stage, browser)
        stage.method.guesses = 100
        await asyncio.gather(*(browser.send_flow(flow, {"method": TRAVEL, "word": str(n)}) for n in range(20)))
        [row] = await stage.scene.rows("flows")
        assert row["attempts"] == 20

    async def test_judges_no_more_of_parallel_guesses_than_are_allowed(self, either_stage: Stage) -> None:
        """The right guess is sent last, so it comes too late."""
        stage, browser = either_stage, await either_stage.scene.browser()
        await stage.customer("ada")
        flow = await asked_for_a_word(stage, browser)
        words = [*(str(n) for n in range(19)), "plum"]
        both = asyncio.Barrier(len(words))

        async def wait() -> None:
            await both.wait()

        stage.method.before_step = wait
        answers = await asyncio.gather(*(browser.send_flow(flow, {"method": TRAVEL, "word": word}) for word in words))
        row = next(row for row in await stage.scene.rows("flows") if row["finished_at"] is not None)
        assert row["attempts"] == 3
        assert sum(answer.status_code == 200 for answer in answers) <= 1
        judged = [answer for answer in answers if answer.status_code in {200, 400}]
        assert len(judged) <= 3


class TestAMailedLink:
    """It is followed by GET, carries no anti-CSRF token, and may be opened in another browser."""

    async def test_signs_in(self, either_stage: Stage) -> None:
        stage = either_stage
        _, _, identity = await registered(stage)
        flow, token = await self._link(stage, identity)
        browser = await stage.scene.browser()
        answer = await browser.get(f"/self-service/link?flow={flow}&token={token}")
        assert (answer.status_code, answer.headers["location"]) == (303, "https://shop.test/account")
        session = (await browser.get("/sessions/whoami")).json()
        assert session["identity"]["id"] == str(identity)
        assert [each["method"] for each in session["authentication_methods"]] == ["link_recovery"]

    async def test_works_once(self, stage: Stage) -> None:
        _, _, identity = await registered(stage)
        flow, token = await self._link(stage, identity)
        first, second = await stage.scene.browser(), await stage.scene.browser()
        await first.get(f"/self-service/link?flow={flow}&token={token}")
        answer = await second.get(f"/self-service/link?flow={flow}&token={token}")
        assert (answer.status_code, second.session_cookie) == (303, None)

    async def test_a_wrong_link_is_a_message_on_the_form(self, stage: Stage) -> None:
        flow, _ = await self._link(stage, crypto.new_id())
        browser = await stage.scene.browser()
        answer = await browser.get(f"/self-service/link?flow={flow}&token=other")
        assert (answer.status_code, flow_of(answer, "link")) == (303, flow)
        told = await browser.get(f"/self-service/link?flow={flow}&token=other", headers=JSON)
        assert (told.status_code, messages(told.json())) == (400, [CODE_WRONG])

    async def test_a_link_of_a_deleted_identity_does_not_sign_in(self, stage: Stage) -> None:
        flow, token = await self._link(stage, crypto.new_id())
        told = await (await stage.scene.browser()).get(f"/self-service/link?flow={flow}&token={token}", headers=JSON)
        assert (told.status_code, messages(told.json())) == (400, [WRONG])

    async def test_a_link_whose_flow_has_expired_leads_to_a_new_one(self, stage: Stage) -> None:
        _, _, identity = await registered(stage)
        flow, token = await self._link(stage, identity)
        stage.scene.clock.advance(hours=2)
        browser = await stage.scene.browser()
        answer = await browser.get(f"/self-service/link?flow={flow}&token={token}")
        assert flow_of(answer, "link") != flow
        assert browser.session_cookie is None

    @pytest.mark.parametrize("query", ["", "?flow=", "?flow=x&token=y", f"?flow={UUID(int=7)}&token=y"])
    async def test_a_link_of_an_unknown_flow_is_refused(self, stage: Stage, query: str) -> None:
        answer = await (await stage.scene.browser()).get(f"/self-service/link{query}")
        assert refused(answer) in {"not_found", "invalid_input"}

    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_only_flows_with_links_have_the_route(self, stage: Stage, kind: str) -> None:
        answer = await (await stage.scene.browser()).get(f"/self-service/{kind}?flow=x", headers=JSON)
        assert answer.status_code == 501

    async def _link(self, stage: Stage, identity: UUID) -> tuple[str, str]:
        """Open a flow in some browser; return its id and the token of the link."""
        flow, token = await (await stage.scene.browser()).open_flow("link"), crypto.new_token("")
        stage.link.links[token] = identity
        return str(flow["id"]), token
