"""Which tokens a provider calls access tokens, and which ones it calls something else."""

from typing import Any

import pytest

from shopkeeper.openid.errors import ProviderTokenInvalid
from shopkeeper.openid.token_kinds import MEMBERS, refuse_other_kinds, require_access_kind

OTHERS = [
    "refresh_token",
    "Refresh",
    "refresh",
    "refreshToken",
    "Offline",
    "offline_access",
    "ID",
    "id",
    "id_token",
    "Logout",
    "urn:ietf:params:oauth:token-type:refresh_token",
    "urn:ietf:params:oauth:token-type:id_token",
]
ACCESS = ["access", "access_token", "Bearer", "bearer", "at+jwt", "urn:ietf:params:oauth:token-type:access_token"]


def accepts(check: Any, said: dict[str, Any]) -> bool:
    try:
        check(said)
    except ProviderTokenInvalid:
        return False
    return True


@pytest.mark.parametrize("member", MEMBERS)
def test_what_is_called_otherwise_is_no_access_token(member: str) -> None:
    assert [kind for kind in OTHERS if accepts(refuse_other_kinds, {member: kind})] == []
    assert [kind for kind in OTHERS if accepts(require_access_kind, {member: kind})] == []


@pytest.mark.parametrize("member", MEMBERS)
def test_what_is_called_an_access_token_is_one(member: str) -> None:
    for check in (refuse_other_kinds, require_access_kind):
        assert [kind for kind in ACCESS if not accepts(check, {member: kind})] == []


def test_a_refresh_token_is_none_by_one_member_of_several() -> None:
    assert not accepts(refuse_other_kinds, {"token_type": "Bearer", "token_use": "refresh_token"})
    assert not accepts(refuse_other_kinds, {"token_type": "Bearer", "typ": "Refresh"})


def test_where_nothing_is_said_nothing_is_refused_and_nothing_is_proven() -> None:
    for said in ({}, {"token_type": None}, {"token_type": ["Bearer"]}, {"typ": "JWT"}, {"token_use": "valid"}):
        assert accepts(refuse_other_kinds, said)
        assert not accepts(require_access_kind, said)
