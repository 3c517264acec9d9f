"""What pages say in English about refusals whose own sentence is for programs. In other languages they say the same as
everything else."""

from collections.abc import Mapping
from typing import Final

from shopkeeper.errors import Busy, IdentityDisabled, TooManyRequests, Wording
from shopkeeper.languages.refusals import waiting_time
from shopkeeper.openid.errors import ProviderAnswerInvalid, ProviderTokenInvalid, ProviderUnavailable

SENTENCES: Final[Mapping[str, str]] = {
    TooManyRequests.code: "That was a little too often. Try again in {wait}.",
    Busy.code: "The shop has more to do than it can. Try again in {wait}.",
    IdentityDisabled.code: "Only the shop can switch it on again. Please ask its customer service.",
    ProviderUnavailable.code: ProviderUnavailable.message,
    ProviderAnswerInvalid.code: ProviderAnswerInvalid.message,
    ProviderTokenInvalid.code: "What the provider has sent is not valid, or not any more. Please sign in there again.",
}
"""The sentence of a refusal's code."""

_UNITS: Final = {"wait/seconds": "{count} s", "wait/minutes": "{count} min"}


def in_english(wording: Wording) -> str | None:
    """Return what a page says in English about a refusal; None where it says the refusal's own sentence.

    >>> in_english(Wording("too_many_requests", parameters={"retry_after": 2158}))
    'That was a little too often. Try again in 36 min.'
    """
    sentence, seconds = SENTENCES.get(wording.code), wording.parameters.get("retry_after")
    if sentence is None or ("{wait}" in sentence and seconds is None):
        return None
    return sentence.format(wait=waiting_time(seconds, _UNITS) if seconds else "")
