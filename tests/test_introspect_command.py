"""`shopkeeper introspect`: what it shows of a token that a server of the same configuration has issued."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from shopkeeper.cli import cli
from shopkeeper.clock import StoppedClock, SystemClock
from tests.attacks.scene import SETTINGS, new_address, opened, sign_up

KEYS = ["p7Xk2vQ9dLw4sT6yB1nM8cRj5hZf3gAe", "a3Gf9Kd1Pq7Ws5Ze2Rt8Yu4Io6Lk0JhX"]
RULES = [{"name": "shoppers", "when": {"kind": ["customer"]}, "scopes": ["view_products:{projectKey}"]}]
ONE = {"callers": [{"id": "commercetools", "keys": [KEYS[0]]}]}
TWO = {"callers": [*ONE["callers"], {"id": "kettles", "keys": [KEYS[1]], "stores": ["kettle"]}]}
SHOP: dict[str, Any] = {
    "stores": [{"id": "default", "project_key": "tea"}, {"id": "kettle"}],
    "tokens": {"scope_rules": RULES},
    "courier": {"smtp": {"connection_uri": "smtp://127.0.0.1:9/"}},
}
Introspect = Callable[..., Result]


@pytest.fixture
def introspect(sqlite_dsn: str, tmp_path: Path) -> Introspect:
    def run(*arguments: str, given: str | None = None, callers: Any = ONE) -> Result:
        file = tmp_path / "introspect.json"
        file.write_text(json.dumps({**SETTINGS, **SHOP, "dsn": sqlite_dsn, "introspection": callers}))
        command = ["introspect", *arguments, "-c", str(file)]
        return CliRunner().invoke(cli, command, input=given, env={"COLUMNS": "300"})

    return run


@pytest.fixture
def token(sqlite_dsn: str, tmp_path: Path) -> str:
    async def sign_somebody_up() -> str:
        clock = StoppedClock(SystemClock().now())
        async with opened(sqlite_dsn, tmp_path, clock, settings=SHOP) as scene:
            return str((await sign_up(await scene.native(), new_address()))["session_token"])

    return asyncio.run(sign_somebody_up())


def test_it_shows_the_answer(introspect: Introspect, token: str) -> None:
    told = introspect(token)
    assert told.exit_code == 0, told.output
    lines = dict(line.split(None, 1) for line in told.stdout.splitlines())
    assert lines["active"] == "true"
    assert lines["scope"].startswith("view_products:tea customer_id:")
    assert lines["exp"].endswith("UTC)")


def test_the_token_may_come_from_the_standard_input(introspect: Introspect, token: str) -> None:
    told = introspect("-", "--json", given=f"{token}\n")
    assert json.loads(told.stdout)["active"] is True
    assert introspect("-", given="").exit_code == 1


def test_it_explains_which_rule_gave_which_scope(introspect: Introspect, token: str) -> None:
    told = introspect(token, "--explain").stdout
    assert "Recognised by  session" in told
    assert "Provider       own" in told
    [line] = [line for line in told.splitlines() if line.startswith("view_products:tea ")]
    assert line.split() == ["view_products:tea", "│", "rule", "shoppers"]
    as_json = json.loads(introspect(token, "--explain", "--json").stdout)
    assert as_json["scopes"][0] == {"scope": "view_products:tea", "rule": "shoppers", "also": []}
    assert as_json["subject"]["kind"] == "customer"


def test_it_says_why_a_token_is_inactive_for_a_caller(introspect: Introspect, token: str) -> None:
    assert "No source recognises" in introspect("unknown", "--explain").stdout
    told = introspect(token, "--explain", "--caller", "kettles", callers=TWO).stdout
    assert "The caller may not ask about tokens of default." in told
    assert "does not count in kettle" in introspect(token, "--explain", "--store", "kettle").stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "Several callers are configured"),
        (("--caller", "nobody"), "There is no caller nobody; those that may ask are: commercetools, kettles."),
        (("--caller", "kettles", "--store", "nowhere"), "There is no store called 'nowhere' here."),
    ],
)
def test_a_wrong_question_ends_in_a_sentence(introspect: Introspect, arguments: tuple[str, ...], sentence: str) -> None:
    told = introspect("unknown", *arguments, callers=TWO)
    assert told.exit_code == 1
    assert sentence in told.output


def test_without_callers_it_answers_as_to_one_without_limits(introspect: Introspect, token: str) -> None:
    assert introspect(token, callers={}).stdout.startswith("active      true")
