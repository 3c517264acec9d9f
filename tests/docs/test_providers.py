"""The page of providers says what the presets are, and its examples work."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shopkeeper.credentials.claims_mapping import LARGEST_RESULT, JsonnetMapper
from shopkeeper.identity.values import Via
from shopkeeper.jsonnet.evaluator import Jsonnet
from shopkeeper.jsonnet.processes import Limits
from shopkeeper.openid.authenticated import Authenticated
from shopkeeper.openid.presets import PRESETS
from shopkeeper.settings import load

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "providers.md"
TEXT = PAGE.read_text(encoding="utf-8")
ROWS = {
    cells[0].strip("`"): cells[1:]
    for line in TEXT.splitlines()
    if re.match(r"\| `(?!provider`)", line) and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 7
}


def example(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    return found[1]


def test_every_preset_that_can_be_used_has_a_row() -> None:
    assert ROWS.keys() == {name for name, preset in PRESETS.items() if not preset.unsupported}
    assert all(f"`{name}`" in TEXT for name in PRESETS)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_says_what_the_preset_is(name: str) -> None:
    preset = PRESETS[name]
    speaks, needs, scope, verified, confirms, _ = ROWS[name]
    assert speaks == ("OpenID Connect" if preset.openid else "OAuth 2")
    assert ("issuer_url" in needs) is (preset.issuer is None)
    assert scope.strip("`") == (" ".join(preset.scope) or "none")
    assert (verified != "no") is preset.verifies_email
    assert (confirms == "yes") is preset.reauthenticates


def test_the_providers_whose_codes_are_bound_to_no_sign_in_are_named() -> None:
    """RFC 9700 section 2.1.1: by a nonce, or by PKCE where no metadata can offer it."""
    unbound = {
        name
        for name, preset in PRESETS.items()
        if not preset.unsupported and preset.pkce != "force" and not (preset.openid and preset.sends_nonce)
    }
    table = TEXT.partition("| `provider` | Why |")[2].partition("\n\n")[0]
    named = {name for line in table.splitlines() if line for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert unbound == named


def test_the_example_is_a_configuration(tmp_path: Path) -> None:
    file = tmp_path / "shop.yml"
    file.write_text(example("yaml"))
    settings = load([file], {}, dev=True, demo=False)
    ids: list[Any] = [
        provider["id"]
        for provider in yaml.safe_load(example("yaml"))["selfservice"]["methods"]["oidc"]["config"]["providers"]
    ]
    assert [provider.id for provider in settings.selfservice.methods.oidc.providers] == ids
    assert [hook.hook for hook in settings.selfservice.flows.registration.after.hooks_of("oidc")] == ["session"]


async def test_the_example_of_a_mapper_makes_an_identity() -> None:
    jsonnet = Jsonnet(workers=1)
    claims = {"email": "ada@shop.example", "email_verified": "true", "given_name": "Ada"}
    try:
        mapper = JsonnetMapper(example("jsonnet"), jsonnet, provider="google")
        mapped = await mapper.map(Authenticated(claims, "7", "https://idp.example"))
        bare = await mapper.map(Authenticated({"email": "ada@shop.example"}, "7", "https://idp.example"))
    finally:
        await jsonnet.close()
    assert mapped.traits == {"email": "ada@shop.example", "name": {"first": "Ada"}}
    assert mapped.metadata_public == {"provider": "google"}
    assert mapped.verified_addresses == ((Via.EMAIL, "ada@shop.example"),)
    assert (bare.traits, bare.verified_addresses) == ({"email": "ada@shop.example"}, ())


def test_the_bounds_of_a_mapper_are_those_of_the_page() -> None:
    limits = Limits()
    assert (limits.seconds, limits.memory, LARGEST_RESULT) == (5.0, 256 * 1024**2, 64 * 1024)
    assert "five seconds, 256 MB, no imports and a result of 64 kB" in TEXT
