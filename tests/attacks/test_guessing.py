"""Rows 69, 70 and 72 to 78: guessing passwords, and guessing who has an account."""

import asyncio
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from shopkeeper.storage.cache.memory import MemoryCache
from tests.attacks.conftest import Opening
from tests.attacks.scene import (
    HERE,
    PASSWORD,
    SIGN_UP,
    THERE,
    Scene,
    ask,
    new_address,
    sign_in,
    sign_up,
    submit,
    visit,
    written_schema,
)

WRONG = "a wrong guess, once again"
# Without the hook `session`, the answer to a registration does not show whether an address was free.
QUIET = {"flows": {"registration": {"after": {"password": {"hooks": []}}}}}
UNVERIFIED = {
    "methods": {"code": {"enabled": True}},
    "flows": {
        "login": {"after": {"password": {"hooks": [{"hook": "require_verified_address"}]}}},
        "verification": {"enabled": True},
        "recovery": {"enabled": True},
    },
}
SIGNS_UP = {"method": "password", "password": PASSWORD}
IDENTIFIER_FIRST = {"flows": {"login": {"style": "identifier_first"}}}


class TestBudgets:
    async def test_row_069_own_good_logins_buy_no_guesses_at_others(self, opening: Opening, sqlite_dsn: str) -> None:
        """The attacker owns an account and signs in between the guesses; this gives no budget back to the address."""
        async with opening(sqlite_dsn, throttle={"login": {"per_ip": "6/minute"}}) as scene:
            app, own, victim = await scene.native(), new_address("own"), new_address("victim")
            await sign_up(app, own)
            await sign_up(app, victim)
            statuses = []
            for _ in range(5):
                statuses.append((await sign_in(app, own)).status_code)
                statuses.append((await sign_in(app, victim, WRONG)).status_code)
            assert statuses == [200, 400, 200, 400, 200, 400, 429, 429, 429, 429]
            elsewhere = await scene.native(ip=THERE)
            assert (await sign_in(elsewhere, victim)).status_code == 200

    @pytest.mark.parametrize("names", [1, 100])
    async def test_row_069_nothing_else_in_the_cache_takes_the_place_of_counted_guesses(
        self, opening: Opening, sqlite_dsn: str, monkeypatch: pytest.MonkeyPatch, names: int
    ) -> None:
        """The cache in process is bounded. A client fills every kind of value but the one that its block is counted in:
        for one name with guesses at one account, for many names with its address's budget."""
        monkeypatch.setitem(MemoryCache.__init__.__kwdefaults__, "max_entries", 40)
        counted, limits = ("login.pair", {}) if names == 1 else ("login.ip", {"per_ip": "30/minute"})
        async with opening(sqlite_dsn, throttle={"login": limits}, selfservice=UNVERIFIED) as scene:
            app, browser, email = await scene.native(), await scene.browser(ip=THERE), new_address()
            await browser.send_flow(await browser.open_flow("registration"), SIGNS_UP | {"traits": {"email": email}})
            await submit(await scene.native(ip=THERE), "recovery", {"method": "code", "email": email})
            for number in range(35):
                refused = await sign_in(app, f"{number % names}{email}", WRONG)
            assert refused.status_code == 429
            cache = scene.application.infrastructure.cache
            assert isinstance(cache, MemoryCache)
            kinds = set(cache._kinds)
            assert kinds >= {"login.pair", "login.ip", "registration.ip", "code_pair.ip", "registrant"}
            for kind in kinds - {counted}:
                for number in range(100):
                    await cache.set(f"{kind}:{number}", b"1", ttl=timedelta(days=1))
            assert (await sign_in(app, f"0{email}", WRONG)).status_code == 429

    async def test_row_069_the_owner_is_never_locked_out_for_good(self, scene: Scene) -> None:
        """Guesses block the pair of account and address. The owner signs in from another address at once, and from this
        one later."""
        email = new_address()
        attacker, owner = await scene.native(), await scene.native(ip=THERE)
        await sign_up(owner, email)
        for _ in range(40):
            await sign_in(attacker, email, WRONG)
            assert (await sign_in(owner, email)).status_code == 200
            scene.clock.advance(minutes=5)
        answer = await sign_in(attacker, email)
        scene.clock.advance(seconds=int(answer.headers.get("retry-after", "0")))
        assert (await sign_in(attacker, email)).status_code == 200

    async def test_row_070_a_blank_password_matches_nothing(self, scene: Scene) -> None:
        """An account that an admin created has no password yet."""
        admin, app, email = await scene.admin(), await scene.native(), new_address()
        body = {"schema_id": "default", "traits": {"email": email}}
        assert (await admin.post("/admin/identities", json=body)).status_code == 201
        for blank in ("", " ", "\u200b", "null", "None", "undefined", "0"):
            answer = await sign_in(app, email, blank)
            assert answer.status_code in {400, 429}
            assert "session_token" not in answer.text
            assert (await app.post("/signin", json={"username": email, "password": blank})).status_code in {
                400,
                401,
                429,
            }
            scene.clock.advance(hours=1)

    @pytest.mark.parametrize("blank", ["", " ", "       "])
    async def test_row_070_no_blank_password_is_stored(self, scene: Scene, blank: str) -> None:
        app, admin = await scene.native(), await scene.admin()
        form = {"method": "password", "password": blank, "traits": {"email": new_address()}}
        assert (await submit(app, "registration", form)).status_code == 400
        for config in ({"password": ""}, {"hashed_password": ""}, {"password": None}, {}):
            body = {
                "schema_id": "default",
                "traits": {"email": new_address()},
                "credentials": {"password": {"config": config}},
            }
            assert (await admin.post("/admin/identities", json=body)).status_code == 400
        assert await scene.rows("identities") == []

    @pytest.mark.parametrize(
        "spelled", [str.upper, str.title, lambda text: f"  {text} ", lambda text: text.replace("@", "＠")]
    )
    async def test_row_077_every_spelling_spends_one_budget(self, scene: Scene, spelled: Any) -> None:
        app, email = await scene.native(), new_address()
        await sign_up(app, email)
        statuses = [(await sign_in(app, name, WRONG)).status_code for name in (email, spelled(email)) * 3]
        assert statuses == [400] * 5 + [429]

    async def test_row_077_a_block_of_one_name_does_not_show_at_another_of_the_account(
        self, opening: Opening, dsn: str, tmp_path: Path
    ) -> None:
        """Regression: failures were counted by account, so a block told a stranger whose phone number it is."""
        async with opening(dsn, identity=_names_and_addresses_sign_in(tmp_path)) as scene:
            app, email, other = await scene.native(), new_address(), new_address("other")
            await sign_up(app, email, username="ada.lovelace")
            await sign_up(app, other, username="grace.hopper")
            for try_ in (_by_form, _by_storefront):
                scene.clock.advance(hours=1)
                blocked = [(await try_(app, email)).status_code for _ in range(6)]
                assert blocked[-1] == 429
                names = ("ada.lovelace", "grace.hopper", "nobody.else")
                told = [[_plain(await try_(app, name), name) for _ in range(6)] for name in names]
                assert told[0] == told[1] == told[2]

    async def test_row_077_wrong_codes_for_one_address_do_not_show_at_another_of_the_account(
        self, opening: Opening, dsn: str, tmp_path: Path
    ) -> None:
        """A code belongs to its address: what is counted for one must not tell whose the other is."""
        by_code = {"methods": {"code": {"passwordless_enabled": True}}}
        async with opening(dsn, identity=_two_addresses(tmp_path), selfservice=by_code) as scene:
            app, admin = await scene.native(), await scene.admin()
            for person in ("ada", "grace"):
                traits = {"home": f"{person}@home.example.org", "work": f"{person}@work.example.org"}
                made = await admin.post("/admin/identities", json={"schema_id": "default", "traits": traits})
                assert made.status_code == 201, made.text
            told = await _wrong_codes(app, "ada@home.example.org", 6)
            assert told[-1][0] == 429
            others = ("ada@work.example.org", "grace@work.example.org", "nobody@example.org")
            answers = [await _wrong_codes(app, name, 2) for name in others]
            assert answers[0] == answers[1] == answers[2]
            assert [status for status, *_ in answers[0]] == [400, 400]

    async def test_row_077_all_names_of_an_account_together_give_twice_the_guesses_of_one_and_no_sign_of_it(
        self, opening: Opening, sqlite_dsn: str, tmp_path: Path
    ) -> None:
        """The limit of the account refuses the right password like a wrong one, until its block is over."""
        settings = {"identity": _many_names(tmp_path), "throttle": {"login": {"failures": 3, "per_ip": "1000/minute"}}}
        async with opening(sqlite_dsn, **settings) as scene:
            app, admin = await scene.native(), await scene.admin()
            names = [f"ada.{number}" for number in range(4)]
            body = {
                "schema_id": "default",
                "traits": {"names": names},
                "credentials": {"password": {"config": {"password": PASSWORD}}},
            }
            assert (await admin.post("/admin/identities", json=body)).status_code == 201
            for name in names[:2]:
                assert [(await _by_form(app, name)).status_code for _ in range(4)] == [400, 400, 400, 429]
            right, wrong = await sign_in(app, names[2]), await _by_form(app, "nobody.else")
            assert _plain(right, names[2]) == _plain(wrong, "nobody.else")
            told = [
                event["details"] for event in await scene.rows("audit_events") if event["action"] == "sign_in.failed"
            ]
            assert "too_many_attempts" in told[-2]
            elsewhere = await scene.native(ip=THERE)
            assert (await sign_in(elsewhere, names[2])).status_code == 200
            scene.clock.advance(minutes=1)
            assert (await sign_in(app, names[3])).status_code == 200

    async def test_row_077_who_is_blocked_under_one_name_gets_in_under_another(
        self, opening: Opening, sqlite_dsn: str, tmp_path: Path
    ) -> None:
        async with opening(sqlite_dsn, identity=_names_and_addresses_sign_in(tmp_path)) as scene:
            app, email = await scene.native(), new_address()
            await sign_up(app, email, username="ada.lovelace")
            assert [(await _by_form(app, email)).status_code for _ in range(6)] == [400] * 5 + [429]
            assert (await sign_in(app, "ada.lovelace")).status_code == 200
            assert (await sign_in(app, email)).status_code == 429

    @pytest.mark.parametrize("door", ["form", "storefront"])
    async def test_row_077_a_name_that_is_too_long_tells_nothing_of_its_beginning(
        self, scene: Scene, door: str
    ) -> None:
        """Regression: the name was cut, and spent the budget of the shorter name only where that was unknown."""
        app, known = await scene.native(), new_address("known")
        await sign_up(app, known)
        try_ = {"form": _by_form, "storefront": _by_storefront}[door]
        told = []
        for name in (known, new_address("nobody")):
            tries = [name + " " * 600, name + "\u200b" * 400, *[name] * 4, name + " " * 600]
            told.append([(await try_(app, each)).status_code for each in tries])
        assert told[0] == told[1]

    async def test_row_078_every_door_spends_one_budget(self, scene: Scene) -> None:
        app, browser, email = await scene.native(), await scene.browser(), new_address()
        await sign_up(app, email)
        flow = await browser.open_flow("login")
        tries = [
            (await sign_in(app, email, WRONG)).status_code,
            (await app.post("/signin", json={"username": email, "password": WRONG})).status_code,
            (await browser.send_flow(flow, {"identifier": email, "password": WRONG})).status_code,
            (await browser.send_flow(flow, {"identifier": email, "password": WRONG})).status_code,
            (await app.post("/signin", json={"username": email, "password": WRONG})).status_code,
        ]
        assert tries == [400, 401, 400, 400, 401]
        assert (await sign_in(app, email)).status_code == 429
        assert (await app.post("/signin", json={"username": email, "password": PASSWORD})).status_code == 429
        assert (await browser.send_flow(flow, {"identifier": email, "password": PASSWORD})).status_code == 429

    async def test_row_078_sign_ups_by_form_and_by_graphql_spend_one_budget(
        self, opening: Opening, sqlite_dsn: str
    ) -> None:
        async with opening(sqlite_dsn, throttle={"registration": {"per_ip": "5/minute"}}) as scene:
            app = await scene.native()
            token = (await visit(app))["authorization"]
            for _ in range(2):
                await sign_up(app, new_address())
            aliases = " ".join(
                f'a{i}: signUp(customerSignUpInput: {{email: "{new_address()}", password: "{PASSWORD}"}}) {{ code }}'
                for i in range(30)
            )
            told = await ask(app, token, f"mutation {{ {aliases} }}")
            codes = [error["extensions"]["code"] for error in told["errors"]]
            assert codes == ["TOO_MANY_REQUESTS"] * 27
            assert len(await scene.rows("identities")) == 5

    async def test_row_078_a_hundred_aliases_are_not_begun(self, scene: Scene) -> None:
        app = await scene.native()
        token = (await visit(app))["authorization"]
        aliases = " ".join(f"a{i}: getCart {{ id }}" for i in range(100))
        told = await ask(app, token, f"{{ {aliases} }}")
        assert told["errors"][0]["extensions"]["code"] == "TOO_MANY_ALIASES"

    async def test_row_078_guesses_at_once_get_no_further_than_guesses_in_a_row(self, scene: Scene) -> None:
        app, email = await scene.native(), new_address()
        await sign_up(app, email)
        before = scene.application.accounts.hasher.computed
        tries = [app.post("/signin", json={"username": email, "password": f"{WRONG} {i}"}) for i in range(25)]
        statuses = [answer.status_code for answer in await asyncio.gather(*tries)]
        assert scene.application.accounts.hasher.computed - before <= 5
        assert statuses.count(401) <= 5
        assert set(statuses) <= {401, 429}


class TestEnumeration:
    """Text, code and work, on every route. Hashes and database statements stand for the time of an answer."""

    async def test_row_072_a_wrong_password_costs_what_an_unknown_name_costs(self, scene: Scene) -> None:
        app, known = await scene.native(), new_address("known")
        await sign_up(app, known)
        for try_ in (_by_form, _by_storefront):
            costs = [await _cost(scene, app, try_, name) for name in (known, new_address("nobody"))]
            assert costs[0] == costs[1]
            assert costs[0]["hashes"] == 1

    async def test_row_072_an_account_without_a_password_costs_the_same(self, scene: Scene) -> None:
        app, admin, bare = await scene.native(), await scene.admin(), new_address("bare")
        await admin.post("/admin/identities", json={"schema_id": "default", "traits": {"email": bare}})
        costs = [await _cost(scene, app, _by_form, name) for name in (bare, new_address("nobody"))]
        assert costs[0] == costs[1]

    async def test_row_072_a_disabled_account_is_told_so_only_for_its_password(self, scene: Scene) -> None:
        app, admin, off = await scene.native(), await scene.admin(), new_address("off")
        identity = (await sign_up(app, off))["identity"]["id"]
        await admin.patch(
            f"/admin/identities/{identity}", json=[{"op": "replace", "path": "/state", "value": "inactive"}]
        )
        wrong = [_plain(await _by_form(app, name), name) for name in (off, new_address("nobody"))]
        assert wrong[0] == wrong[1]

    @pytest.mark.parametrize("door", ["form", "graphql", "browser"])
    async def test_row_072_signing_up_with_a_taken_address_costs_what_a_free_one_costs(
        self, opening: Opening, dsn: str, door: str
    ) -> None:
        """What is written for a free address is also written for a taken one, and then rolled back."""
        async with opening(dsn, selfservice=QUIET) as scene:
            app, taken = await scene.native(), new_address("taken")
            assert (await _sign_up_by_form(app, taken)).status_code == 200
            doors = {"form": _sign_up_by_form, "graphql": _sign_up_by_graphql, "browser": _sign_up_in_a_browser(scene)}
            costs = [await _cost(scene, app, doors[door], name) for name in (taken, new_address("fresh"))]
            assert costs[0] == costs[1]
            assert costs[0]["hashes"] == 1

    async def test_row_072_a_second_sign_up_within_the_hour_costs_the_same(self, opening: Opening, dsn: str) -> None:
        """The owner of a taken address gets one mail in an hour. Regression: later attempts were cheaper by that
        mail."""
        async with opening(dsn, selfservice=QUIET) as scene:
            app, taken = await scene.native(), new_address("taken")
            for name in (taken, taken):
                assert (await _sign_up_by_form(app, name)).status_code == 200
            costs = [await _cost(scene, app, _sign_up_by_form, name) for name in (taken, new_address("fresh"))]
            assert costs[0] == costs[1]

    async def test_row_072_a_taken_address_beside_a_free_name_costs_the_same(
        self, opening: Opening, dsn: str, tmp_path: Path
    ) -> None:
        """Regression: only identifiers were looked up, so an address that an account does not sign in with was
        revealed."""
        async with opening(dsn, selfservice=QUIET, identity=_names_sign_in(tmp_path)) as scene:
            app, taken, fresh = await scene.native(), new_address("taken"), new_address("fresh")
            assert (await _sign_up_with_a_name(app, taken)).status_code == 200
            costs = [await _cost(scene, app, _sign_up_with_a_name, email) for email in (taken, fresh)]
            assert costs[0] == costs[1]

    async def test_row_074_a_taken_address_beside_a_free_name_is_kept_secret(
        self, opening: Opening, dsn: str, tmp_path: Path
    ) -> None:
        async with opening(dsn, selfservice=QUIET, identity=_names_sign_in(tmp_path)) as scene:
            app, taken, fresh = await scene.native(), new_address("taken"), new_address("fresh")
            assert (await _sign_up_with_a_name(app, taken)).status_code == 200
            told = [_nameless(await _sign_up_with_a_name(app, email), email) for email in (taken, fresh)]
            assert told[0] == told[1]
            mails = sorted((mail.recipient, mail.template_type) for mail in await scene.mails())
            assert mails == sorted([(taken, "welcome"), (taken, "sign_up_attempt"), (fresh, "welcome")])

    async def test_row_074_graphql_never_signs_in_and_so_keeps_the_secret_whatever_the_forms_do(
        self, scene: Scene
    ) -> None:
        """Regression: GraphQL revealed taken addresses where the forms sign in, although it does not sign in itself."""
        app, taken, fresh = await scene.native(), new_address("taken"), new_address("fresh")
        await sign_up(app, taken)
        told = [_plain(await _sign_up_by_graphql(app, name), name) for name in (taken, fresh)]
        assert told[0] == told[1]
        assert "DONE" in told[0][2] or '"problems": []' in told[0][2]

    @pytest.mark.parametrize("attempt", ["wrong", "blocked"])
    async def test_row_074_no_door_tells_known_from_unknown(self, scene: Scene, attempt: str) -> None:
        app, known = await scene.native(), new_address("known")
        await sign_up(app, known)
        names = (known, new_address("nobody"))
        for try_ in (_by_form, _by_storefront):
            if attempt == "blocked":
                for name in names:
                    for _ in range(5):
                        await try_(app, name)
            told = [_plain(await try_(app, name), name) for name in names]
            assert told[0] == told[1]

    async def test_row_074_no_door_tells_a_taken_address_from_a_free_one(
        self, opening: Opening, sqlite_dsn: str
    ) -> None:
        async with opening(sqlite_dsn, selfservice=QUIET) as scene:
            app, taken = await scene.native(), new_address("taken")
            assert (await _sign_up_by_form(app, taken)).status_code == 200
            for try_ in (_sign_up_by_form, _sign_up_by_graphql, _sign_up_in_a_browser(scene)):
                fresh = new_address("fresh")
                assert _plain(await try_(app, taken), taken) == _plain(await try_(app, fresh), fresh)

    @pytest.mark.parametrize("door", ["form", "graphql", "browser"])
    async def test_row_074_sign_ups_at_the_same_moment_tell_nothing_either(
        self, opening: Opening, dsn: str, door: str
    ) -> None:
        """Of a free address, one becomes an account; the others find it taken only when they write it."""
        async with opening(dsn, selfservice=QUIET) as scene:
            app, taken, free = await scene.native(), new_address("taken"), new_address("free")
            assert (await _sign_up_by_form(app, taken)).status_code == 200
            doors = {"form": _sign_up_by_form, "graphql": _sign_up_by_graphql, "browser": _sign_up_in_a_browser(scene)}
            told = []
            for name in (taken, free):
                answers = await asyncio.gather(*(doors[door](app, name) for _ in range(4)))
                told.append([_plain(answer, name) for answer in answers])
            assert told[0] == told[1]
            assert len(await scene.rows("identities")) == 2

    async def test_row_074_codes_typed_in_at_the_same_moment_tell_nothing_either(
        self, opening: Opening, dsn: str
    ) -> None:
        """Both have the code of a free address; the second one's account exists when it is written."""
        async with opening(dsn, selfservice={**QUIET, "methods": {"code": {"passwordless_enabled": True}}}) as scene:
            app, name = await scene.native(), new_address("free")
            asked = {"method": "code", "traits": {"email": name}}
            paths = [(await submit(app, "registration", asked)).json()["ui"]["action"] for _ in range(2)]
            codes = [re.findall(r"\b\d{6}\b", mail.body)[0] for mail in reversed(await scene.waiting_mails())]
            told = await asyncio.gather(
                *(app.post(path, json={**asked, "code": code}) for path, code in zip(paths, codes, strict=True))
            )
            assert [answer.status_code for answer in told] == [200, 200]
            assert _plain(told[0], name) == _plain(told[1], name)
            assert len(await scene.rows("identities")) == 1

    async def test_row_074_a_sign_up_and_a_sign_in_afterwards_tell_as_documented(self, scene: Scene) -> None:
        """Without verification of addresses this stays: who can sign in with the password just chosen made the
        account. The owner of a taken address gets a mail for it."""
        app, taken, free = await scene.native(), new_address("taken"), new_address("free")
        await sign_up(app, taken, password="another kettle, by the window")
        await scene.mails()
        for name in (taken, free):
            assert '"code":"OK"' in (await _sign_up_by_graphql(app, name)).text
        tries = [await app.post("/signin", json={"username": name, "password": PASSWORD}) for name in (taken, free)]
        assert [answer.status_code for answer in tries] == [401, 200]
        assert "sign_up_attempt" in {mail.template_type for mail in await scene.mails() if mail.recipient == taken}

    async def test_row_074_a_bad_sign_up_tells_nothing_either(self, opening: Opening, sqlite_dsn: str) -> None:
        """A refused password or a broken trait must be noticed as early for a taken address as for a free one."""
        async with opening(sqlite_dsn, selfservice=QUIET) as scene:
            app, taken = await scene.native(), new_address("taken")
            await _sign_up_by_form(app, taken)
            for fields in (
                {"password": "short"},
                {"password": PASSWORD, "traits": {"unknown": 1}},
                {"method": "nothing"},
            ):
                told = []
                for name in (taken, new_address("fresh")):
                    form = {"method": "password", **fields, "traits": {"email": name, **fields.get("traits", {})}}
                    told.append(_plain(await submit(app, "registration", form), name))
                assert told[0] == told[1]

    async def test_row_074_the_owner_of_a_taken_address_is_told_by_mail(
        self, opening: Opening, sqlite_dsn: str
    ) -> None:
        async with opening(sqlite_dsn, selfservice=QUIET) as scene:
            app, taken, fresh = await scene.native(), new_address("taken"), new_address("fresh")
            for name in (taken, taken, fresh):
                await _sign_up_by_form(app, name)
            mails = sorted((mail.recipient, mail.template_type) for mail in await scene.mails())
            assert mails == sorted([(taken, "welcome"), (taken, "sign_up_attempt"), (fresh, "welcome")])
            assert len(await scene.rows("identities")) == 2

    async def test_row_074_the_honest_limit_a_sign_up_that_signs_in_tells(self, scene: Scene) -> None:
        """With the hook `session` the answer itself shows whether the registration succeeded, so each such guess is
        counted."""
        app, taken = await scene.native(), new_address("taken")
        await sign_up(app, taken)
        statuses = []
        for _ in range(6):
            answer = await submit(
                app, "registration", {"method": "password", "password": PASSWORD, "traits": {"email": taken}}
            )
            statuses.append(answer.status_code)
        assert 1 <= statuses.count(400) <= 5
        assert statuses[-1] == 429

    async def test_row_075_the_first_of_two_steps_tells_nothing(self, opening: Opening, sqlite_dsn: str) -> None:
        async with opening(sqlite_dsn, selfservice=IDENTIFIER_FIRST) as scene:
            app, known = await scene.native(), new_address("known")
            await sign_up(app, known)
            told = []
            for name in (known, new_address("nobody")):
                answer = await submit(app, "login", {"method": "identifier_first", "identifier": name})
                assert answer.status_code == 400
                told.append(_plain(answer, name))
            assert told[0] == told[1]

    async def test_row_075_nor_does_the_second(self, opening: Opening, sqlite_dsn: str) -> None:
        async with opening(sqlite_dsn, selfservice=IDENTIFIER_FIRST) as scene:
            app, known = await scene.native(), new_address("known")
            await sign_up(app, known)
            told = []
            for name in (known, new_address("nobody")):
                flow = (await app.get("/self-service/login/api")).json()
                path = f"/self-service/login?flow={flow['id']}"
                await app.post(path, json={"method": "identifier_first", "identifier": name})
                answer = await app.post(path, json={"method": "password", "identifier": name, "password": WRONG})
                told.append(_plain(answer, name))
            assert told[0] == told[1]

    async def test_row_075_the_audit_of_a_failure_keeps_no_address(self, scene: Scene) -> None:
        app, nobody = await scene.native(), new_address("nobody")
        await sign_in(app, nobody, WRONG)
        assert nobody not in repr(await scene.rows("audit_events"))
        assert HERE not in repr(await scene.rows("audit_events"))

    async def test_row_076_the_hash_of_nobody_opens_no_account_at_the_door(self, scene: Scene) -> None:
        """The dummy is a hash like any other. The password behind it must not open an account without a password."""
        app, admin, bare = await scene.native(), await scene.admin(), new_address("bare")
        await admin.post("/admin/identities", json={"schema_id": "default", "traits": {"email": bare}})
        dummy = scene.application.accounts.hasher._nobody
        for guess in (dummy, "", "password", "nobody", "dummy", "shopkeeper"):
            assert (await app.post("/signin", json={"username": bare, "password": guess or " "})).status_code == 401
            scene.clock.advance(hours=1)


async def _by_form(app: httpx2.AsyncClient, name: str) -> httpx2.Response:
    return await sign_in(app, name, WRONG)


async def _by_storefront(app: httpx2.AsyncClient, name: str) -> httpx2.Response:
    return await app.post("/signin", json={"username": name, "password": WRONG})


async def _sign_up_by_form(app: httpx2.AsyncClient, name: str) -> httpx2.Response:
    form = {"method": "password", "password": PASSWORD, "traits": {"email": name, "name": {"first": "Ada"}}}
    return await submit(app, "registration", form)


async def _sign_up_by_graphql(app: httpx2.AsyncClient, name: str) -> httpx2.Response:
    token = (await visit(app))["authorization"]
    body = {"query": SIGN_UP, "variables": {"i": {"email": name, "password": PASSWORD}}}
    return await app.post("/graphql", json=body, headers={"authorization": f"Bearer {token}"})


async def _sign_up_with_a_name(app: httpx2.AsyncClient, email: str) -> httpx2.Response:
    traits = {"username": f"ada{uuid4().hex[:12]}", "email": email}
    return await submit(app, "registration", {"method": "password", "password": PASSWORD, "traits": traits})


def _nameless(answer: httpx2.Response, email: str) -> tuple[int, list[str], str]:
    status, headers, text = _plain(answer, email)
    return status, headers, re.sub(r"ada[0-9a-f]{12}", "<username>", text)


def _names_sign_in(folder: Path) -> dict[str, Any]:
    """Return settings in which a user name signs in, and the e-mail address is only for verification and recovery."""
    reached = {"verification": {"via": "email"}, "recovery": {"via": "email"}}
    traits = {
        "username": {"type": "string", "ory.sh/kratos": {"credentials": {"password": {"identifier": True}}}},
        "email": {"type": "string", "format": "email", "ory.sh/kratos": reached},
    }
    return {"schemas": [{"id": "default", "url": written_schema(folder, traits)}]}


def _names_and_addresses_sign_in(folder: Path) -> dict[str, Any]:
    """Return settings in which both a user name and an e-mail address sign in."""
    signs_in = {"ory.sh/kratos": {"credentials": {"password": {"identifier": True}}}}
    traits = {name: {"type": "string", **signs_in} for name in ("username", "email")}
    return {"schemas": [{"id": "default", "url": written_schema(folder, traits)}]}


def _two_addresses(folder: Path) -> dict[str, Any]:
    """Return settings in which codes are mailed to two addresses of an account."""
    mailed = {"ory.sh/kratos": {"credentials": {"code": {"identifier": True, "via": "email"}}}}
    traits = {name: {"type": "string", "format": "email", **mailed} for name in ("home", "work")}
    return {"schemas": [{"id": "default", "url": written_schema(folder, traits)}]}


async def _wrong_codes(app: httpx2.AsyncClient, name: str, times: int) -> list[tuple[int, list[str], str]]:
    """Ask for codes for an address, two tries with each; return the answers to wrong ones."""
    told = []
    for number in range(times):
        if number % 2 == 0:
            asked = await submit(app, "login", {"method": "code", "identifier": name})
            path = str(asked.json()["ui"]["action"])
        answer = await app.post(path, json={"method": "code", "identifier": name, "code": "not one"})
        told.append(_plain(answer, name))
    return told


def _many_names(folder: Path) -> dict[str, Any]:
    """Return settings in which an account signs in with any of several names."""
    one = {"type": "string", "ory.sh/kratos": {"credentials": {"password": {"identifier": True}}}}
    return {"schemas": [{"id": "default", "url": written_schema(folder, {"names": {"type": "array", "items": one}})}]}


def _sign_up_in_a_browser(scene: Scene) -> Any:
    async def sign_up_(_app: httpx2.AsyncClient, name: str) -> httpx2.Response:
        browser = await scene.browser()
        flow = await browser.open_flow("registration")
        return await browser.send_flow(flow, {"password": PASSWORD, "traits": {"email": name}})

    return sign_up_


async def _cost(scene: Scene, app: httpx2.AsyncClient, try_: Any, name: str) -> dict[str, int]:
    """Return the work that one attempt causes, by kind."""
    hasher = scene.application.accounts.hasher
    before = hasher.computed
    seen: list[str] = []
    with scene.application.infrastructure.database.observed(seen.append):
        await try_(app, name)
    assert seen
    return {"hashes": hasher.computed - before, "statements": len(seen)}


def _plain(answer: httpx2.Response, name: str) -> tuple[int, list[str], str]:
    """Return an answer without what differs each time: the name, ids, times, tokens."""
    text = json.dumps(answer.json(), sort_keys=True).replace(name, "<name>")
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "<id>", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "<moment>", text)
    text = re.sub(r'"value": "[A-Za-z0-9+/=]{88}"', "<token>", text)
    headers = sorted(key for key, _ in answer.headers.multi_items() if key != "content-length")
    return answer.status_code, headers, text
