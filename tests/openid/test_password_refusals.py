"""What the error answers to a name and a password mean, in the words of each provider."""

from collections.abc import Mapping
from typing import Any

import pytest

from shopkeeper.openid.errors import ProviderAnswerInvalid, ProviderError
from shopkeeper.openid.password_refusals import PasswordWrong, SecondFactorWanted, require_no_refusal


def entra(code: int, error: str = "invalid_grant", suberror: str | None = None) -> Mapping[str, Any]:
    more = {} if suberror is None else {"suberror": suberror}
    return {"error": error, "error_description": f"AADSTS{code}: Trace ID: 0", "error_codes": [code], **more}


def keycloak(description: str, error: str = "invalid_grant") -> Mapping[str, Any]:
    return {"error": error, "error_description": description}


WRONG: Mapping[str, Mapping[str, Any]] = {
    "Entra: wrong": entra(50126),
    "Entra: no such account": entra(50034),
    "Entra: locked": entra(50053),
    "Entra: expired": entra(50055, suberror="user_password_expired"),
    "Entra: disabled": entra(50057),
    "Keycloak: wrong": keycloak("Invalid user credentials"),
    "Keycloak: disabled": keycloak("Account disabled"),
    "Keycloak: not set up": keycloak("Account is not fully set up"),
    "Okta: wrong": {"error": "invalid_grant", "error_description": "The credentials provided were invalid."},
    "Auth0: wrong": {"error": "invalid_grant", "error_description": "Wrong email or password."},
    "Auth0: by another name": {"error": "invalid_user_password"},
    "Auth0: blocked": {"error": "unauthorized", "error_description": "user is blocked"},
    "Auth0: refused by an action": {"error": "access_denied"},
    "Auth0: leaked": {"error": "password_leaked"},
    "Auth0: too many": {"error": "too_many_attempts"},
}
SECOND_FACTOR: Mapping[str, Mapping[str, Any]] = {
    "Entra: needed": entra(50076, suberror="basic_action"),
    "Entra: to be enrolled": entra(50079),
    "Entra: by its error": entra(50158, error="interaction_required"),
    "Auth0: needed": {"error": "mfa_required", "mfa_token": "Fe26.2"},
    "Auth0: to be enrolled": {"error": "mfa_registration_required"},
    "Auth0: a puzzle": {"error": "requires_verification"},
}
CONSENT: Mapping[str, Mapping[str, Any]] = {
    "Entra": entra(65001, suberror="consent_required"),
    "Entra, by its code": entra(65001),
    "Entra, of an administrator": entra(90094, error="access_denied"),
    "Auth0": {"error": "consent_required"},
}
OTHER: Mapping[str, Mapping[str, Any]] = {
    "our secret": {"error": "invalid_client"},
    "a grant that is off": {"error": "unsupported_grant_type"},
    "another grant": {"error": "unauthorized_client"},
    "a text of its own": {"error": "wrong \n password"},
    "a list": {"error": ["invalid_grant"]},
    "nothing": {},
    "tokens": {"access_token": "x", "token_type": "Bearer"},
}


def refusal_of(document: Mapping[str, Any]) -> ProviderError | None:
    try:
        require_no_refusal(document)
    except ProviderError as refusal:
        return refusal
    return None


@pytest.mark.parametrize(
    ("answers", "kind"),
    [(WRONG, PasswordWrong), (SECOND_FACTOR, SecondFactorWanted), (CONSENT, ProviderAnswerInvalid), (OTHER, None)],
    ids=["wrong", "second factor", "consent", "other"],
)
def test_each_answer_has_its_meaning(
    answers: Mapping[str, Mapping[str, Any]], kind: type[ProviderError] | None
) -> None:
    found = {what: refusal_of(answer) for what, answer in answers.items()}
    expected = dict.fromkeys(answers, kind)
    assert {what: None if refusal is None else type(refusal) for what, refusal in found.items()} == expected


def test_the_log_learns_the_codes_of_the_provider() -> None:
    for what, answer in {**WRONG, **SECOND_FACTOR, **CONSENT}.items():
        refusal = refusal_of(answer)
        assert refusal is not None
        detail = refusal.detail or ""
        assert answer["error"] in detail, what
        assert answer.get("suberror", "") in detail
        assert all(f"AADSTS{code}" in detail for code in answer.get("error_codes", []))
    not_set_up = refusal_of(WRONG["Keycloak: not set up"])
    assert not_set_up is not None
    assert "Account is not fully set up" in (not_set_up.detail or "")


def test_the_log_never_has_what_a_provider_repeats() -> None:
    secret = "a-kettle-of-fish"
    answer = {"error": "invalid_grant", "error_description": f"ada with {secret}", "suberror": secret, secret: secret}
    for odd in ([secret], {secret: 1}, [True, -1, 10**30, None, 1.5], secret, 7):
        refusal = refusal_of({**answer, "error_codes": odd})
        assert isinstance(refusal, PasswordWrong)
        assert secret not in str(refusal.detail)
        assert "AADSTS" not in str(refusal.detail)
    many = refusal_of({"error": "invalid_grant", "error_codes": list(range(1, 10_000))})
    assert len(many.detail or "" if many else "") < 300
