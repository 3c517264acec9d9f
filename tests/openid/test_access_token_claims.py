"""Whatever a claim of an access token is: the token is accepted or refused, and nothing breaks."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from shopkeeper.app.identity_providers import access_token_rules, identity_provider_of
from shopkeeper.openid.access_token import AccessToken, check_access_token, check_introspection
from shopkeeper.openid.errors import ProviderTokenInvalid
from shopkeeper.openid.provider import Provider
from shopkeeper.openid.tokens import SignedToken
from shopkeeper.settings.oidc_provider import OidcProvider
from tests.openid.test_access_token_presets import ACCESS, NOW, SECTIONS, TIMES

LATER = timedelta(minutes=5)
VALUES: Mapping[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "an integer": 7,
    "a negative one": -1,
    "a huge one": 10**400,
    "a fraction": 1.5,
    "infinity": float("inf"),
    "no number": float("nan"),
    "an empty text": "",
    "a text": "a text",
    "a text of control characters": "\x00\n",
    "a long text": "x" * 5000,
    "an empty list": [],
    "a list of texts": ["a", "b"],
    "a list of one text": ["access"],
    "a list of anything": [None, 1, "a", ["b"], {"c": 1}],
    "an empty object": {},
    "an object": {"a": ["b"]},
}


class Claims(dict[str, Any]):
    """Claims that remember which of them were asked for."""

    def __init__(self, claims: Mapping[str, Any]) -> None:
        super().__init__(claims)
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)


Check = Callable[[Claims], AccessToken]


def configured(preset: str, **section: Any) -> tuple[OidcProvider, Provider, Mapping[str, Any]]:
    given = OidcProvider.model_validate({"id": "idp", "kind": "oidc", "preset": preset, **SECTIONS[preset], **section})
    provider = identity_provider_of(given)
    return given, provider, {"iss": provider.issuer, **TIMES, **ACCESS[preset]}


def breaks(check: Check, claims: Mapping[str, Any]) -> list[str]:
    """Return each claim that is read, with the value by which something else than a refusal happens."""
    names, known = {*claims}, set[str]()
    broken = []
    while names - known:
        name = min(names - known)
        known.add(name)
        for what, value in VALUES.items():
            told = Claims({**claims, name: value})
            try:
                check(told)
            except ProviderTokenInvalid:
                pass
            except Exception as error:
                broken.append(f"{name} is {what}: {error!r}")
            names |= told.asked
    assert {"exp", "sub", "aud"} <= known
    return broken


@pytest.mark.parametrize("typ", ["jwt", "at+jwt", None])
@pytest.mark.parametrize("preset", SECTIONS)
def test_every_claim_of_a_jwt_may_be_of_every_type(preset: str, typ: str | None) -> None:
    section, provider, claims = configured(preset)
    rules = access_token_rules(section)

    def check(told: Claims) -> AccessToken:
        signed = SignedToken("RS256", told, b"", None)
        return check_access_token(signed, typ, rules, provider=provider, announced=None, now=NOW)

    assert check(Claims(claims)).client_id == "app"
    assert breaks(check, claims) == []


@pytest.mark.parametrize("clients", [[], ["app"]], ids=["any client", "one client"])
@pytest.mark.parametrize("preset", SECTIONS)
def test_every_member_of_an_introspection_may_be_of_every_type(preset: str, clients: list[str]) -> None:
    section, provider, claims = configured(preset, audiences=["https://api.example"], allowed_clients=clients)
    rules = access_token_rules(section)

    def check(told: Claims) -> AccessToken:
        return check_introspection(told, rules, provider=provider, now=NOW, without_exp=LATER)

    answer = {**claims, "active": True, "aud": "https://api.example", "token_type": "Bearer"}
    assert check(Claims(answer)).client_id == "app"
    assert breaks(check, answer) == []


@pytest.mark.parametrize("mark", ["scope", "scp"])
@pytest.mark.parametrize("typ", ["jwt", "at+jwt", None])
def test_scopes_may_be_a_list(mark: str, typ: str | None) -> None:
    section, provider, claims = configured("generic")
    said = {name: value for name, value in claims.items() if name not in {"scope", "client_id"}}
    signed = SignedToken("RS256", {**said, mark: ["openid", "a"]}, b"", None)
    token = check_access_token(signed, typ, access_token_rules(section), provider=provider, announced=None, now=NOW)
    assert token.scope == ("openid", "a")
