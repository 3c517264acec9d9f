"""What a client may add to the request to a provider: `upstream_parameters` of a submission.

Only these reach the provider, because others would change what the request asks for.
"""

from collections.abc import Mapping
from typing import Any, Final

from shopkeeper.credentials.steps import SubmissionRejected
from shopkeeper.ui.messages import reason

ALLOWED: Final = ("acr_values", "auth_type", "hd", "login_hint", "prompt")
LONGEST: Final = 255
"""Characters of a value."""
_FIELD: Final = "upstream_parameters"


def upstream_parameters(submitted: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the parameters of a submission: an object in JSON, `upstream_parameters.…` fields in a form.

    Raises `SubmissionRejected` for others than the allowed ones, and for a value that is no text or too long.

    >>> upstream_parameters({"upstream_parameters.login_hint": "ada@example.org"})
    {'login_hint': 'ada@example.org'}
    """
    given = submitted.get(_FIELD)
    if given is not None and not isinstance(given, Mapping):
        raise _refused()
    in_form = {name.removeprefix(f"{_FIELD}."): value for name, value in submitted.items() if _is_ours(name)}
    wanted = {**(given or {}), **in_form}
    if any(name not in ALLOWED or not _is_plain(value) for name, value in wanted.items()):
        raise _refused()
    return {name: str(value) for name, value in wanted.items() if value}


def _is_ours(name: str) -> bool:
    return name.startswith(f"{_FIELD}.")


def _is_plain(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST and (not value or value.isprintable())


def _refused() -> SubmissionRejected:
    return SubmissionRejected(
        reason(
            "upstream_parameters",
            "'upstream_parameters' takes these, each a text of {limit} characters at most: {names}.",
            limit=LONGEST,
            names=", ".join(ALLOWED),
        )
    )
