"""Sign-in and registration with a password: on both databases, with a real hasher, policy and throttle."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import bcrypt
import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.credentials.hashes import Hasher
from shopkeeper.credentials.method import LoginMethod, MethodInput, MethodView, RegistrationMethod, Traits
from shopkeeper.credentials.steps import NewCredential, SubmissionRejected
from shopkeeper.errors import Busy, IdentityDisabled, InvalidCredentials, TooManyRequests
from shopkeeper.identity.extraction import Extracted
from shopkeeper.identity.values import Aal, State
from shopkeeper.ui.nodes import Node
from tests.credentials.world import CHEAP, CLIENT, FAILURES, RIGHT, World

ADA, BEA = "ada@example.org", "bea@example.org"
WRONG = "Pear-Tart-93-window"

# For tests that do not reach the database, and for tables of inputs, where fresh databases for each row take long.
on_sqlite = pytest.mark.parametrize("dsn", ["sqlite"], indirect=True)


def told(rejected: SubmissionRejected) -> tuple[list[int], list[tuple[str, int, Mapping[str, Any]]]]:
    """Return the messages above the form, and those at its fields."""
    return [m.id for m in rejected.general], [(f.name, f.message.id, f.message.context) for f in rejected.fields]


async def waiting(occupied: Hasher) -> None:
    """Wait until a request is queued for the only worker, which is busy."""
    async with asyncio.timeout(30):
        while occupied.in_flight < 2:  # noqa: ASYNC110 - the hasher has no event for a request that begins to wait
            await asyncio.sleep(0.001)


@on_sqlite
class TestForms:
    async def test_the_nodes_match_what_kratos_shows(self, world: World, shared: Path) -> None:
        recorded = shared / "contracts/kratos/conversations/recorded/base"
        method = world.password
        async with world.database.reading() as unit:
            login = await method.login_form(unit, MethodView(CLIENT))
            registration = await method.registration_form(unit, MethodView(CLIENT))
        assert wire(login.nodes) == shown(recorded / "native_login.json", "login")
        assert wire(registration.nodes) == shown(recorded / "native_registration.json", "registration")

    async def test_confirming_a_session_has_the_plain_label(self, world: World, shared: Path) -> None:
        golden = shared / "contracts/kratos/golden/login/1fa/refresh/password/initial-form.json"
        nodes = [node for node in json.loads(golden.read_text())["ui"]["nodes"] if node["group"] == "password"]
        async with world.database.reading() as unit:
            form = await world.password.login_form(unit, MethodView(CLIENT, refresh=True))
        assert wire(form.nodes) == wordless(nodes)

    async def test_the_method_satisfies_both_ports(self, world: World) -> None:
        login: LoginMethod = world.password
        registration: RegistrationMethod = world.password
        assert login.name == registration.name == "password"


def wire(nodes: Sequence[Node]) -> list[dict[str, Any]]:
    return wordless([node.to_wire() for node in nodes])


def wordless(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the nodes without the sentences, which are our own."""
    for node in nodes:
        node["meta"]["label"].pop("text")
    return nodes


def shown(recording: Path, flow: str) -> list[dict[str, Any]]:
    """Return the password's nodes in the first form of a recorded conversation."""
    exchanges = json.loads(recording.read_text())
    forms = (one for one in exchanges if one["request"]["path"].endswith(f"/{flow}/api"))
    nodes = next(forms)["response"]["body"]["ui"]["nodes"]
    return wordless([node for node in nodes if node["group"] == "password"])


class TestSignIn:
    async def test_the_right_password_proves_the_identity(self, world: World) -> None:
        ada = await world.customer(ADA)
        proof = await world.prove(identifier=ADA, password=RIGHT)
        assert (proof.identity.id, proof.proof.method, proof.proof.aal) == (ada.id, "password", Aal.AAL1)

    async def test_the_identifier_is_found_in_any_spelling(self, world: World) -> None:
        ada = await world.customer(ADA)
        proof = await world.prove(identifier="  ADA@Example.ORG", password=RIGHT)
        assert proof.identity.id == ada.id

    @on_sqlite
    @pytest.mark.parametrize(
        ("identifier", "password"),
        [
            (ADA, WRONG),
            (ADA, RIGHT + " "),
            (ADA, RIGHT.lower()),
            (BEA, RIGHT),
            ("x" * 100_000, RIGHT),
            ("\x00", RIGHT),
            (ADA, "x" * 100_000),
            (ADA, "\ud800"),
        ],
    )
    async def test_wrong_or_unknown_is_one_answer(self, world: World, identifier: str, password: str) -> None:
        await world.customer(ADA)
        with pytest.raises(SubmissionRejected) as rejected:
            await world.prove(identifier=identifier, password=password)
        assert told(rejected.value) == ([4000006], [])

    @on_sqlite
    @pytest.mark.parametrize(
        ("submitted", "missing"),
        [
            ({"identifier": ADA}, ["password"]),
            ({"password": RIGHT}, ["identifier"]),
            ({"identifier": "", "password": ""}, ["identifier", "password"]),
            ({"identifier": None, "password": RIGHT}, ["identifier"]),
            ({}, ["identifier", "password"]),
        ],
    )
    async def test_a_missing_value_is_reported_at_its_field(
        self, world: World, submitted: Mapping[str, Any], missing: list[str]
    ) -> None:
        with pytest.raises(SubmissionRejected) as rejected:
            await world.prove(**submitted)
        assert told(rejected.value) == ([], [(name, 4000002, {"property": name}) for name in missing])
        assert world.hasher.computed == 0

    @on_sqlite
    @pytest.mark.parametrize(
        "submitted",
        [
            {"identifier": [ADA], "password": {"$ne": 1}},
            {"identifier": {"$gt": ""}, "password": RIGHT},
            {"identifier": ADA, "password": [RIGHT]},
            {"identifier": 1, "password": 1},
            {"identifier": True, "password": False},
        ],
    )
    async def test_row_062_an_operator_for_a_string_is_a_wrong_credential(
        self, world: World, submitted: Mapping[str, Any]
    ) -> None:
        await world.customer(ADA)
        with pytest.raises(SubmissionRejected) as rejected:
            await world.prove(**submitted)
        assert told(rejected.value) == ([4000006], [])

    async def test_a_wrong_password_without_a_form_is_a_refusal(self, world: World) -> None:
        ada = await world.customer(ADA)
        assert (await world.authenticate(ADA, RIGHT)).identity.id == ada.id
        with pytest.raises(InvalidCredentials):
            await world.authenticate(ADA, WRONG)

    async def test_a_disabled_account_is_reported_for_the_right_password_only(self, world: World) -> None:
        ada = await world.customer(ADA, state=State.INACTIVE)
        with pytest.raises(SubmissionRejected):
            await world.prove(identifier=ADA, password=WRONG)
        with pytest.raises(IdentityDisabled) as disabled:
            await world.prove(identifier=ADA, password=RIGHT)
        assert disabled.value.details == {"identity_id": str(ada.id)}

    async def test_a_failure_is_audited_although_the_unit_rolls_back(self, world: World) -> None:
        ada = await world.customer(ADA)
        for identifier in (ADA, BEA):
            with pytest.raises(SubmissionRejected):
                await world.prove(identifier=identifier, password=WRONG)
        events = await world.failures()
        assert [(event.subject, event.details) for event in events] == [
            (None, {"method": "password", "reason": "wrong_credentials"}),
            (str(ada.id), {"method": "password", "reason": "wrong_credentials"}),
        ]
        assert WRONG not in str(events)
        assert ADA not in str(events)

    async def test_no_transaction_is_open_while_a_password_is_hashed(self, world: World) -> None:
        """SQLite has one writer: with a transaction open, the other unit could not write before the hash is done."""
        await world.customer(ADA)
        occupied, free_again = Hasher(CHEAP, workers=1, queue=1), Event()
        other = asyncio.ensure_future(occupied._run(lambda: free_again.wait(60)))
        method = world.with_hasher(occupied).password
        async with world.database.unit() as unit, asyncio.TaskGroup() as together:
            signing_in = together.create_task(method.authenticate(unit, identifier=ADA, password=RIGHT, client=CLIENT))
            await waiting(occupied)
            assert unit._open is None
            await world.customer(BEA)
            assert not signing_in.done()
            free_again.set()
        assert await other
        occupied.close()


class TestKnownIdentity:
    async def test_a_session_is_confirmed_by_its_own_identity(self, world: World) -> None:
        ada = await world.customer(ADA)
        proof = await world.prove(identifier=ADA, password=RIGHT, identity=ada)
        assert proof.identity.id == ada.id

    async def test_row_058_another_accounts_right_password_confirms_nothing(self, world: World) -> None:
        ada, _ = await world.customer(ADA), await world.customer(BEA, password="Bea-has-19-cats")
        before = world.hasher.computed
        with pytest.raises(SubmissionRejected) as rejected:
            await world.prove(identifier=BEA, password="Bea-has-19-cats", identity=ada)
        assert told(rejected.value) == ([4000006], [])
        assert world.hasher.computed == before + 1

    async def test_guesses_in_a_confirmation_spend_the_other_accounts_budget(self, world: World) -> None:
        ada, _ = await world.customer(ADA), await world.customer(BEA)
        for _ in range(FAILURES):
            with pytest.raises(SubmissionRejected):
                await world.prove(identifier=BEA, password=WRONG, identity=ada)
        with pytest.raises(TooManyRequests):
            await world.prove(identifier=BEA, password=RIGHT)
        assert await world.prove(identifier=ADA, password=RIGHT, identity=ada)


class TestEqualWork:
    async def test_row_072_every_way_to_fail_costs_one_hash(self, world: World) -> None:
        await world.customer(ADA)
        await world.customer(BEA, password=None)
        await world.customer("carl@example.org", hashed="$1$not$known")
        for identifier in (ADA, BEA, "carl@example.org", "nobody@example.org", "x" * 1000):
            before = world.hasher.computed
            with pytest.raises(SubmissionRejected):
                await world.prove(identifier=identifier, password=WRONG)
            assert world.hasher.computed == before + 1, identifier

    @on_sqlite
    @pytest.mark.parametrize("guess", ["", "unknown", "password", "None", "null"])
    async def test_row_070_an_account_without_a_password_is_matched_by_nothing(self, world: World, guess: str) -> None:
        await world.customer(ADA, password=None)
        await world.customer(BEA, hashed="")
        for identifier in (ADA, BEA):
            with pytest.raises(InvalidCredentials):
                await world.authenticate(identifier, guess)

    async def test_row_076_the_hash_that_nobody_has_is_matched_by_nothing(self, world: World) -> None:
        await world.customer(ADA, hashed=world.hasher._nobody)
        with pytest.raises(InvalidCredentials):
            await world.authenticate(ADA, "")
        with pytest.raises(InvalidCredentials):
            await world.authenticate(ADA, world.hasher._nobody)

    async def test_row_094_an_imported_hash_that_wants_absurd_work_is_never_computed(self, world: World) -> None:
        await world.customer(ADA, hashed="$argon2id$v=19$m=4194304,t=64,p=1$" + "A" * 22 + "$" + "A" * 43)
        with pytest.raises(InvalidCredentials):
            await world.authenticate(ADA, RIGHT)
        assert world.hasher.computed == 1


class TestBudget:
    async def test_after_so_many_failures_not_even_the_right_password_is_tried(
        self, world: World, clock: StoppedClock
    ) -> None:
        await world.customer(ADA)
        for _ in range(FAILURES):
            with pytest.raises(InvalidCredentials):
                await world.authenticate(ADA, WRONG)
        before = world.hasher.computed
        with pytest.raises(TooManyRequests) as blocked:
            await world.authenticate(ADA, RIGHT)
        assert world.hasher.computed == before
        clock.advance(seconds=blocked.value.retry_after + 1)
        assert await world.authenticate(ADA, RIGHT)

    async def test_an_unknown_name_is_blocked_like_an_account(self, world: World) -> None:
        for _ in range(FAILURES):
            with pytest.raises(InvalidCredentials):
                await world.authenticate("nobody@example.org", WRONG)
        with pytest.raises(TooManyRequests):
            await world.authenticate("nobody@example.org", WRONG)

    async def test_row_077_every_spelling_of_an_identifier_spends_the_same_budget(self, world: World) -> None:
        await world.customer(ADA, phone="+491701234567")
        spellings = ["Ada@Example.org", " ada@example.org", "ADA@EXAMPLE.ORG", "ａda@example.org"]
        assert len(spellings) >= FAILURES
        for spelling in spellings[:FAILURES]:
            with pytest.raises(InvalidCredentials):
                await world.authenticate(spelling, WRONG)
        for spelling in (*spellings, ADA):
            with pytest.raises(TooManyRequests):
                await world.authenticate(spelling, RIGHT)

    async def test_row_077_each_identifier_has_a_budget_of_its_own(self, world: World) -> None:
        """A block of one does not tell who has the other."""
        await world.customer(ADA, phone="+491701234567")
        for _ in range(FAILURES):
            with pytest.raises(InvalidCredentials):
                await world.authenticate(ADA, WRONG)
        with pytest.raises(TooManyRequests):
            await world.authenticate(ADA, RIGHT)
        assert await world.authenticate("+49 (170) 123 45 67", RIGHT)

    async def test_row_077_spellings_of_a_name_without_an_account_do_too(self, world: World) -> None:
        for spelling in ("nobody@example.org", "NOBODY@example.org", "nobody@EXAMPLE.org ", "ｎobody@example.org")[
            :FAILURES
        ]:
            with pytest.raises(InvalidCredentials):
                await world.authenticate(spelling, WRONG)
        with pytest.raises(TooManyRequests):
            await world.authenticate("nobody@example.org", WRONG)

    async def test_row_078_the_form_and_other_doors_spend_the_same_budget(self, world: World) -> None:
        await world.customer(ADA)
        for _ in range(FAILURES - 1):
            with pytest.raises(InvalidCredentials):
                await world.authenticate(ADA, WRONG)
        with pytest.raises(SubmissionRejected):
            await world.prove(identifier=ADA, password=WRONG)
        with pytest.raises(TooManyRequests):
            await world.prove(identifier=ADA, password=RIGHT)

    async def test_a_success_begins_the_count_anew(self, world: World) -> None:
        await world.customer(ADA)
        for _ in range(3):
            for _ in range(FAILURES - 1):
                with pytest.raises(InvalidCredentials):
                    await world.authenticate(ADA, WRONG)
            assert await world.authenticate(ADA, RIGHT)

    async def test_of_a_hundred_guesses_at_once_only_a_few_are_checked(self, world: World) -> None:
        await world.customer(ADA)
        before = world.hasher.computed
        outcomes = await asyncio.gather(
            *(world.authenticate(ADA, f"{WRONG}-{number}") for number in range(100)), return_exceptions=True
        )
        kinds = {type(outcome) for outcome in outcomes}
        assert kinds == {InvalidCredentials, TooManyRequests}
        assert world.hasher.computed - before <= FAILURES

    async def test_a_client_that_disconnects_while_the_password_is_hashed_spends_nothing(self, world: World) -> None:
        await world.customer(ADA)
        occupied, free_again = Hasher(CHEAP, workers=1, queue=1), Event()
        other = asyncio.ensure_future(occupied._run(lambda: free_again.wait(60)))
        for _ in range(FAILURES + 1):
            signing_in = asyncio.ensure_future(world.with_hasher(occupied).authenticate(ADA, WRONG))
            await waiting(occupied)
            signing_in.cancel()
            with pytest.raises(asyncio.CancelledError):
                await signing_in
        free_again.set()
        assert await other
        assert await world.with_hasher(occupied).authenticate(ADA, RIGHT)
        occupied.close()

    async def test_a_refusal_because_of_load_spends_nothing(self, world: World) -> None:
        await world.customer(ADA)
        full = Hasher(CHEAP, workers=1, queue=0)
        full.in_flight = 1
        busy = world.with_hasher(full)
        for _ in range(FAILURES + 2):
            with pytest.raises(Busy):
                await busy.authenticate(ADA, RIGHT)
        full.in_flight = 0
        assert await busy.authenticate(ADA, RIGHT)
        full.close()


class TestRenewal:
    async def test_an_outdated_hash_is_replaced_when_the_password_is_known(self, world: World) -> None:
        await world.customer(ADA, hashed=bcrypt.hashpw(RIGHT.encode(), bcrypt.gensalt(4)).decode())
        with pytest.raises(InvalidCredentials):
            await world.authenticate(ADA, WRONG)
        assert (await world.stored(ADA)).startswith("$2b$")
        await world.authenticate(ADA, RIGHT)
        renewed = await world.stored(ADA)
        assert renewed.startswith("$argon2id$")
        assert not world.hasher.outdated(renewed)
        await world.authenticate(ADA, RIGHT)
        assert await world.stored(ADA) == renewed

    async def test_a_hash_with_other_parameters_is_replaced_too(self, world: World) -> None:
        await world.customer(ADA)
        stronger = Hasher(replace(CHEAP, iterations=2), workers=1, queue=5)
        await world.with_hasher(stronger).authenticate(ADA, RIGHT)
        assert ",t=2," in await world.stored(ADA)
        stronger.close()

    async def test_rehashing_ends_the_72_byte_limit_of_bcrypt(self, world: World) -> None:
        long = "Plum-Tart-93-window-" * 4
        await world.customer(ADA, hashed=bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(4)).decode())
        await world.authenticate(ADA, long)
        with pytest.raises(InvalidCredentials):
            await world.authenticate(ADA, long[:75])

    async def test_a_password_that_was_changed_in_the_meantime_stays_changed_and_the_old_one_is_wrong(
        self, world: World
    ) -> None:
        """Regression: the old password was accepted, because its hash had been read before the change."""
        await world.customer(ADA, hashed=bcrypt.hashpw(RIGHT.encode(), bcrypt.gensalt(4)).decode())
        changed = await world.hasher.hash("another-One-47")

        class Meanwhile(Hasher):
            async def verify(self, password: str, hashed: str) -> bool:
                right = await super().verify(password, hashed)
                async with world.database.unit() as unit:
                    found = await world.identities.find_by_identifier(unit, type="password", identifier=ADA)
                assert found is not None
                await world.store(found, changed)
                return right

        slow = Meanwhile(CHEAP, workers=1, queue=5)
        with pytest.raises(InvalidCredentials):
            await world.with_hasher(slow).authenticate(ADA, RIGHT)
        assert await world.stored(ADA) == changed
        slow.close()

    async def test_a_busy_hasher_leaves_the_rehash_to_the_next_sign_in(self, world: World) -> None:
        old = bcrypt.hashpw(RIGHT.encode(), bcrypt.gensalt(4)).decode()
        ada = await world.customer(ADA, hashed=old)
        full = Hasher(CHEAP, workers=1, queue=0)
        full.in_flight = 1
        async with world.database.unit() as unit:
            found = await world.identities.get(unit, ada.id, credentials=True)
        assert found is not None
        assert await world.with_hasher(full).password._renewed(found, RIGHT) is None
        assert await world.stored(ADA) == old
        full.close()


@on_sqlite
class TestSignUp:
    async def test_a_good_password_becomes_a_credential(self, world: World) -> None:
        credential = await enrol(world, {"password": RIGHT}, identifiers=(ADA,))
        assert (credential.type, credential.identifiers) == ("password", ())  # its identifiers follow from the traits
        assert set(credential.config) == {"hashed_password"}
        assert await world.hasher.verify(RIGHT, credential.config["hashed_password"])

    @pytest.mark.parametrize("submitted", [{}, {"password": ""}, {"password": None}, {"password": {"$ne": 1}}])
    async def test_a_missing_password_is_asked_for(self, world: World, submitted: Mapping[str, Any]) -> None:
        with pytest.raises(SubmissionRejected) as rejected:
            await enrol(world, submitted, identifiers=(ADA,))
        assert told(rejected.value) == ([], [("password", 4000002, {"property": "password"})])
        assert [error.name for error in world.password.missing(submitted)] == ["password"]

    async def test_a_password_that_was_sent_is_not_asked_for_again(self, world: World) -> None:
        assert world.password.missing({"password": "x"}) == ()

    @pytest.mark.parametrize(
        ("password", "message"),
        [
            ("abc", (4000032, {"min_length": 8, "actual_length": 3})),
            (ADA, (4000031, {})),
            ("football", (4000034, {"breaches": 1})),
        ],
    )
    async def test_a_password_that_breaks_a_rule_is_reported_at_its_field(
        self, world: World, password: str, message: tuple[int, Mapping[str, Any]]
    ) -> None:
        with pytest.raises(SubmissionRejected) as rejected:
            await enrol(world, {"password": password}, identifiers=(ADA,))
        assert told(rejected.value) == ([], [("password", *message)])
        assert world.hasher.computed == 0

    async def test_a_registration_without_an_identifier_is_refused(self, world: World) -> None:
        with pytest.raises(SubmissionRejected) as rejected:
            await enrol(world, {"password": RIGHT}, identifiers=())
        assert told(rejected.value) == ([4000009], [])

    async def test_row_6_2_8_what_is_enrolled_signs_in_exactly_as_typed(self, world: World) -> None:
        typed = "  Pa\u0308ssw\u00f6rd \u200d with edges \U0001f511 "
        credential = await enrol(world, {"password": typed}, identifiers=(ADA,))
        await world.customer(ADA, hashed=credential.config["hashed_password"])
        assert await world.authenticate(ADA, typed)
        with pytest.raises(InvalidCredentials):
            await world.authenticate(ADA, typed.strip())


async def enrol(world: World, submitted: Mapping[str, Any], *, identifiers: tuple[str, ...]) -> NewCredential:
    """Return the credential of a new identity with these identifiers."""
    extracted = Extracted({"password": identifiers} if identifiers else {})
    submission = MethodInput(CLIENT, submitted=submitted, traits=Traits("default", {}, extracted))
    async with world.database.reading() as unit:
        enrolment = await world.password.submit_registration(unit, submission)
    (credential,) = enrolment.credentials
    return credential
