"""Our forms are Ory Elements' published sample answers, node by node, for a similar configuration.

What differs is listed in `golden_differences.yml`: methods that come later, and what is meant to differ.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.contract.golden import OWNER, Body, Case, by_code, ours, read_sample, sample_names
from tests.contract.golden_social import SocialCase, ours_after_coming_back
from tests.contract.recorded import GOLDEN_DIFFERENCES, Entry, expected, read_compare, read_entries

ENTRIES = read_entries(GOLDEN_DIFFERENCES)

NOTHING: Body = {"method": "password", "identifier": OWNER["email"], "password": ""}
WRONG: Body = {"method": "password", "identifier": OWNER["email"], "password": "wrong-password"}
STRANGERS_PASSWORD: Body = {**WRONG, "identifier": "wrong-email@example.org"}
STRANGER: Body = {"method": "identifier_first", "identifier": "wrong-email@example.org"}
IDENTIFIER: Body = {"method": "identifier_first", "identifier": OWNER["email"]}
PROFILE: Body = {"method": "profile", "traits": {"email": OWNER["email"]}}

SEND: Body = {"method": "code", "identifier": OWNER["email"]}
WRONG_CODE: Body = {**SEND, "code": "wrong"}
NO_ADDRESS: Body = {"method": "code"}
ASK: Body = {"method": "code", "email": OWNER["email"]}
GUESS: Body = {"method": "code", "code": "123456"}
NEW_PASSWORD: Body = {"method": "password", "password": "Quince-Tart-39-window"}

BOTH = {"github": "GitHub", "google": "Google"}
THREE = {"generic": "FooBarLogo", **BOTH}
EIGHT = {
    "apple": "Apple",
    "auth0": "auth0",
    **THREE,
    "linkedin": "LinkedIn",
    "microsoft": "Microsoft",
    "x": "x",
}
"""The providers of the samples, in the order that these have them: that of the settings."""


BY_MAIL = [
    Case("recovery/code/missing-email", (NO_ADDRESS,)),
    Case("recovery/code/wrong-code", (ASK, GUESS)),
    Case("recovery/none/initial-form", configured={"selfservice.methods.code.enabled": False}),
    Case("verification/code/missing-email", (NO_ADDRESS,)),
    Case("verification/code/sent-code", (ASK,)),
    Case("verification/code/wrong-code", (ASK, GUESS)),
    Case("verification/disabled/initial-form", configured={"selfservice.flows.verification.enabled": False}),
]
SETTINGS = [
    Case("settings/all-methods/initial-form", signed_in=True, social=BOTH),
    Case("settings/all-methods/change-password", (NEW_PASSWORD,), signed_in=True, social=BOTH),
    Case(
        "settings/all-methods/change-trait",
        (NEW_PASSWORD, {"method": "profile", "traits": {"email": "no-an-email"}}),
        signed_in=True,
        social=BOTH,
    ),
    Case("settings/all-2fa-methods/initial-form", signed_in=True),
    Case("settings/all-2fa-methods/all-added", signed_in=True),
    Case("settings/lookup_secret/initial-form", signed_in=True),
    Case("settings/oidc/with-provider", signed_in=True, social=THREE, linked=True),
]
UNIFIED = [
    *BY_MAIL,
    *SETTINGS,
    Case("login/1fa/unified/password/initial-form"),
    Case("login/1fa/unified/password/wrong-credentials", (STRANGERS_PASSWORD,)),
    by_code("login/1fa/unified/all-methods/initial-form", password=True, social=BOTH),
    by_code("login/1fa/unified/all-methods/missing-email", {"method": "password"}, password=True, social=BOTH),
    by_code("login/1fa/unified/all-methods/wrong-credentials", STRANGERS_PASSWORD, password=True, social=BOTH),
    Case("login/1fa/unified/oidc/with-password/initial-form", social=EIGHT),
    by_code("login/1fa/refresh/all-methods/initial-form", password=True, signed_in=True, social=BOTH, linked=True),
    Case("login/1fa/refresh/oidc/refresh", signed_in=True, social=BOTH, linked=True),
    Case("login/1fa/refresh/password/initial-form", signed_in=True),
    Case("login/1fa/refresh/password/missing-password", (NOTHING,), signed_in=True),
    Case("login/1fa/refresh/password/wrong-password", (WRONG,), signed_in=True),
    Case("login/1fa/unified/refresh/password/initial-form", signed_in=True),
    Case("login/1fa/unified/refresh/password/missing-password", (NOTHING,), signed_in=True),
    Case("registration/one-step/password/initial-form"),
    Case("registration/one-step/password/missing-fields", ({"method": "password", "traits": {}},)),
    Case("registration/one-step/none/initial-form", password=False),
    by_code("registration/one-step/all-methods/initial-form", password=True, social=BOTH),
    by_code(
        "registration/one-step/all-methods/missing-fields",
        {"method": "code", "traits": {}},
        password=True,
        social=BOTH,
    ),
    Case("registration/one-step/oidc/initial-form", password=False, social=EIGHT),
    Case("registration/one-step/passkey/initial-form", password=False),
    Case("registration/one-step/webauthn/initial-form", password=False),
    by_code("login/1fa/refresh/code/without-password/initial-form", signed_in=True),
    # The button that carries the address does not name a method.
    by_code("login/1fa/refresh/code/without-password/code-sent", {"address": OWNER["email"]}, signed_in=True),
    by_code(
        "login/1fa/refresh/code/with-password/missing-identifier",
        {**NO_ADDRESS, "identifier": ""},
        password=True,
        signed_in=True,
    ),
    by_code(
        "login/1fa/refresh/code/with-password/wrong-code",
        {"method": "code", "address": OWNER["email"]},
        WRONG_CODE,
        password=True,
        signed_in=True,
    ),
    # The code is sent before one was mailed.
    by_code("login/1fa/unified/refresh/code/wrong-code", {**WRONG_CODE, "identifier": ""}, signed_in=True),
    by_code("login/1fa/unified/refresh/code/missing-code", NO_ADDRESS, signed_in=True),
    by_code("registration/one-step/code/initial-form"),
    by_code("registration/one-step/code/missing-fields", {"method": "code", "traits": {}}),
]
STEPWISE = [
    Case("login/1fa/identifier_first/password/initial-form"),
    Case("login/1fa/identifier_first/password/missing-account", (STRANGER,)),
    Case("login/1fa/identifier_first/password/missing-email", ({"method": "identifier_first", "identifier": ""},)),
    Case(
        "login/1fa/identifier_first/password/missing-password",
        (IDENTIFIER, NOTHING),
        known=True,
    ),
    Case("login/1fa/identifier_first/refresh/password/initial-form", signed_in=True),
    Case("login/1fa/identifier_first/refresh/password/wrong-password", (WRONG,), signed_in=True),
    by_code("login/1fa/identifier_first/code/initial-form"),
    by_code(
        "login/1fa/identifier_first/code/invalid-account",
        {"method": "identifier_first", "identifier": "some-email@example.org"},
    ),
    by_code("login/1fa/identifier_first/code/show-send", IDENTIFIER, SEND, known=True),
    by_code("login/1fa/identifier_first/code/invalid-code", IDENTIFIER, SEND, WRONG_CODE, known=True),
    by_code("login/1fa/identifier_first/refresh/code/initial-form", signed_in=True),
    # The code is sent before one was mailed.
    by_code("login/1fa/identifier_first/refresh/code/wrong-code", {**WRONG_CODE, "identifier": ""}, signed_in=True),
    by_code("login/1fa/identifier_first/refresh/code/missing-code", NO_ADDRESS, signed_in=True),
    # The published samples of the unified form show its identifier as the form in two steps does.
    by_code("login/1fa/unified/code/initial-form"),
    by_code("login/1fa/unified/code/invalid-account", {**SEND, "identifier": "some-email@example.org"}),
    by_code("login/1fa/unified/code/code-input", SEND, known=True),
    by_code("login/1fa/unified/code/wrong-credentials", SEND, WRONG_CODE, known=True),
    by_code("registration/two-step/code/show-code-input", PROFILE, {**PROFILE, "method": "code"}),
    by_code(
        "registration/two-step/code/wrong-code",
        PROFILE,
        {**PROFILE, "method": "code"},
        {**PROFILE, "method": "code", "code": "wrong"},
    ),
    by_code("registration/two-step/all-methods/code-sent", PROFILE, {**PROFILE, "method": "code"}, password=True),
    by_code(
        "login/1fa/identifier_first/all-methods/enumeration-protection-disabled/initial-form",
        password=True,
        social=BOTH,
    ),
    by_code(
        "login/1fa/identifier_first/all-methods/enumeration-protection-disabled/show-options",
        IDENTIFIER,
        password=True,
        known=True,
        social=BOTH,
        linked=True,
    ),
    Case(
        "login/1fa/identifier_first/oidc/credential-select",
        (IDENTIFIER,),
        known=True,
        social=BOTH,
        linked=True,
        alone=True,
    ),
    Case(
        "login/1fa/identifier_first/all-methods/enumeration-protection-enabled/show-options",
        (IDENTIFIER,),
        code=True,
        social=BOTH,
        configured={"security.account_enumeration.mitigate": True},
    ),
    by_code("registration/two-step/all-methods/initial-form", password=True),
    by_code("registration/two-step/all-methods/missing-fields", {"method": "profile", "traits": {}}, password=True),
    by_code("registration/two-step/all-methods/enter-password", PROFILE, password=True),
    by_code(
        "registration/two-step/all-methods/password-validation-error",
        PROFILE,
        {**PROFILE, "method": "password", "password": "abcd"},
        password=True,
    ),
    Case("login/1fa/identifier_first/oidc/standalone/initial-form", social=EIGHT),
    Case("login/1fa/identifier_first/oidc/with-password/initial-form", social=EIGHT),
    Case("login/1fa/identifier_first/refresh/oidc/refresh", signed_in=True, social=BOTH, linked=True),
    # The first step does not depend on the methods that come after it.
    Case("login/1fa/identifier_first/passkey/missing-email", ({"method": "identifier_first", "identifier": ""},)),
    Case("login/1fa/identifier_first/webauthn/initial-form"),
    Case("login/1fa/identifier_first/webauthn/missing-email", ({"method": "identifier_first", "identifier": ""},)),
    Case("registration/two-step/code/initial-form"),
    Case("registration/two-step/passkey/initial-form"),
    Case("registration/two-step/passkey/missing-fields", ({"method": "profile", "traits": {}},)),
    Case("registration/two-step/webauthn/missing-fields", ({"method": "profile", "traits": {}},)),
    Case("registration/two-step/enum/initial-form", schema="traveller"),
    Case(
        "registration/two-step/password/password-validation-error",
        (PROFILE, {**PROFILE, "method": "password", "password": "abcd"}),
    ),
]

SOCIAL = [
    (SocialCase(Case("login/1fa/account_linking/initial-form", code=True, known=True), leaves="login"), False),
    (SocialCase(Case("registration/one-step/oidc/missing-fields", schema="member"), leaves="registration"), False),
    (SocialCase(Case("registration/two-step/oidc/missing-fields", schema="member"), leaves="login"), True),
]
"""With whether the forms are shown in steps."""

COMPARED = {case.golden for case in (*UNIFIED, *STEPWISE, *(social for social, _ in SOCIAL))}


@pytest.mark.parametrize("case", UNIFIED, ids=lambda case: case.golden)
async def test_the_form_in_one_step_is_the_published_sample(
    case: Case, kratos: Path, conversations: Path, tmp_path: Path
) -> None:
    got = await ours(case, tmp_path, stepwise=False)
    assert read_compare(conversations)(_wanted(case.golden, kratos), got) == []


@pytest.mark.parametrize("case", STEPWISE, ids=lambda case: case.golden)
async def test_the_form_in_steps_is_the_published_sample(
    case: Case, kratos: Path, conversations: Path, tmp_path: Path
) -> None:
    got = await ours(case, tmp_path, stepwise=True)
    assert read_compare(conversations)(_wanted(case.golden, kratos), got) == []


@pytest.mark.parametrize(("social", "stepwise"), SOCIAL, ids=[social.golden for social, _ in SOCIAL])
async def test_the_form_after_coming_back_from_a_provider_is_the_published_sample(
    social: SocialCase, stepwise: bool, kratos: Path, conversations: Path, tmp_path: Path
) -> None:
    got = await ours_after_coming_back(social, tmp_path, stepwise=stepwise)
    assert read_compare(conversations)(_wanted(social.golden, kratos), got) == []


def test_every_published_sample_is_compared_or_listed_as_later(kratos: Path) -> None:
    later = {entry.where for entry in ENTRIES if entry.kind == "later_exchanges"}
    left = {name for name in sample_names(kratos) if _wanted(name, kratos) is None}
    assert left | COMPARED == set(sample_names(kratos))
    assert not left & COMPARED, "strike from golden_differences.yml what is compared"
    assert later


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_no_difference_from_the_samples_is_out_of_date(entry: Entry, kratos: Path) -> None:
    """An entry that changes none of the samples must be removed from the list."""
    others = [other for other in ENTRIES if other is not entry]
    names = sample_names(kratos)
    assert any(_wanted(name, kratos, others) != _wanted(name, kratos) for name in names), f"strike {entry}"


def _wanted(golden: str, kratos: Path, entries: Sequence[Entry] = ENTRIES) -> Any:
    """Return a sample as we answer it; None where all of it comes later."""
    wanted = expected({"response": {"body": read_sample(golden, kratos)}}, golden, entries)
    return wanted and wanted["body"]
