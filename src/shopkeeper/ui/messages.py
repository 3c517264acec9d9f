"""The numbered catalogue of all texts in forms.

Numbers and contexts are Kratos' (contract page section 2.9) and never change; the sentences are ours, and are what
translators translate.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from shopkeeper.errors import Refusal, Wording

Kind = Literal["info", "error", "success"]


@dataclass(frozen=True, slots=True)
class Message:
    """One sentence for a customer: its number for programs, its text for people, its context for translators."""

    id: int
    type: Kind
    text: str
    context: Mapping[str, Any] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Any]:
        """Return the message as JSON; the context is left out if there is none."""
        wire: dict[str, Any] = {"id": self.id, "text": self.text, "type": self.type}
        return {**wire, "context": dict(self.context)} if self.context else wire

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> "Message":
        """Return the message that `to_wire` wrote."""
        return cls(wire["id"], wire["type"], wire["text"], wire.get("context", {}))


CATALOGUE: Mapping[int, tuple[Kind, str]] = {
    1010001: ("info", "Sign in"),
    1010002: ("info", "Sign in with {provider}"),
    1010003: ("info", "Please confirm that it is you."),
    1010004: ("info", "Please give your second proof."),
    1010014: ("info", "If this address has an account, a mail with a code is on its way. Please enter the code here."),
    1010015: ("info", "Send sign-in code"),
    1010016: (
        "info",
        "There is an account with {duplicate_identifier} already. To use {provider} for it as well, sign in to it "
        "once in one of these ways.",
    ),
    1010018: ("info", "Confirm with {provider}"),
    1010022: ("info", "Sign in with password"),
    1010023: ("info", "Send code to {address}"),
    1010025: ("info", "We have sent you a mail with a code. Please enter the code here."),
    1040001: ("info", "Sign up"),
    1040002: ("info", "Sign up with {provider}"),
    1040003: ("info", "Continue"),
    1040005: ("info", "We have sent you a mail. To sign up, please enter the code that it contains."),
    1040006: ("info", "Send sign-up code"),
    1040008: ("info", "Back"),
    1040009: ("info", "Choose how you would like to sign in from now on."),
    1040090: ("info", "Your account can be used now. Please sign in."),
    1050001: ("success", "Your changes have been saved."),
    1050002: ("info", "Link {provider}"),
    1050003: ("info", "Unlink {provider}"),
    1060001: ("info", "You are in your account again. Please choose a new password within {minutes} minutes."),
    1060002: ("info", "If this address has an account, a mail with a link is on its way. Please follow the link."),
    1060003: ("info", "If this address has an account, a mail with a code is on its way. Please enter the code here."),
    1070001: ("info", "Password"),
    1070002: ("info", "{title}"),
    1070003: ("info", "Save"),
    1070004: ("info", "ID"),
    1070007: ("info", "E-mail"),
    1070008: ("info", "Send another code"),
    1070009: ("info", "Continue"),
    1070010: ("info", "Recovery code"),
    1070011: ("info", "Verification code"),
    1070012: ("info", "Sign-up code"),
    1070013: ("info", "Sign-in code"),
    1079001: ("info", "Keep me signed in"),
    1080001: (
        "info",
        "If an account has this address, a mail with a link is on its way. Please follow the link.",
    ),
    1080002: ("success", "Your address is confirmed."),
    1080003: (
        "info",
        "If an account has this address, a mail with a code is on its way. Please enter the code here.",
    ),
    1080090: (
        "info",
        "The password from before has ended, because somebody else may have chosen it. To sign in, recover the account "
        "and choose a new one.",
    ),
    4000001: ("error", "{reason}"),
    4000002: ("error", "Please fill in: {property}."),
    4000003: ("error", "This needs at least {min_length} characters; it has {actual_length}."),
    4000004: ("error", "This does not have the expected form ({pattern})."),
    4000005: ("error", "This password cannot be used: {reason}."),
    4000006: ("error", "The account or the password is not right. Please check both for slips."),
    4000007: ("error", "There is an account with this address or name already. Sign in instead."),
    4000009: ("error", "Nothing in the form can serve to sign in: give an e-mail address or a name."),
    4000010: (
        "error",
        "This account cannot be used yet. Please confirm your e-mail address first, by the mail that you got.",
    ),
    4000017: ("error", "This may have {max_length} characters at most; it has {actual_length}."),
    4000018: ("error", "This must be {minimum} or more; it is {actual}."),
    4000019: ("error", "This must be more than {exclusive_minimum}; it is {actual}."),
    4000020: ("error", "This must be {maximum} or less; it is {actual}."),
    4000021: ("error", "This must be less than {exclusive_maximum}; it is {actual}."),
    4000022: ("error", "This must be a multiple of {base}; it is {actual}."),
    4000023: ("error", "This takes {max_items} entries at most; it has {actual_items}."),
    4000024: ("error", "This needs at least {min_items} entries; it has {actual_items}."),
    4000025: ("error", "Two of these entries are the same."),
    4000026: ("error", "This should be of type {allowed_types}, and is not."),
    4000027: (
        "error",
        "This sign-in is linked to another account already. Sign in to that account, and unlink it there first.",
    ),
    4000028: ("error", "There is an account with {credential_identifier_hint} already. Sign in to it instead."),
    4000029: ("error", "This must be {expected}."),
    4000030: ("error", "This must have one set value."),
    4000031: ("error", "The password is too much like the name or address that you sign in with."),
    4000032: ("error", "The password needs at least {min_length} characters; this one has {actual_length}."),
    4000033: ("error", "The password may have {max_length} characters at most; this one has {actual_length}."),
    4000034: ("error", "This password is known from data breaches. Please choose another one."),
    4000035: ("error", "There is no account with this address, or it cannot sign in with a code."),
    4000036: ("error", "The code was sent to another address than the one in this form. Please ask for another code."),
    4000037: ("error", "There is no such account, or it has no way to sign in yet."),
    4000039: ("error", "This is the password that the account has now. Please choose another one."),
    4000040: ("error", "This is not an e-mail address: {value}"),
    4000041: ("error", "This is not a phone number: {value}"),
    4010001: ("error", "This sign-in form has run out. Please try again."),
    4010002: ("error", "There is no such way to sign in."),
    4010003: ("error", "There is no such way to sign up."),
    4010004: ("error", "There is no such change here. Please use one of the buttons of the form."),
    4010005: ("error", "There is no such way to recover an account."),
    4010006: ("error", "There is no such way to confirm an address."),
    4010008: ("error", "This code is wrong, has expired or has been used. Check it, or ask for another one."),
    4010090: (
        "error",
        "This sign-in belongs to no account yet, and new accounts cannot be opened here. Please sign in another way.",
    ),
    4010091: (
        "error",
        "At the provider you have used another account than the one that is linked here. Please use that one there.",
    ),
    4040001: ("error", "This sign-up form has run out. Please try again."),
    4040003: ("error", "This code is wrong, has expired or has been used. Check it, or ask for another one."),
    4050001: ("error", "This form has run out. Please try again."),
    4050002: ("error", "The address of this account was changed too often in the last days. Please try again later."),
    4060001: ("error", "This recovery has done its work already. Please ask for another mail."),
    4060004: ("error", "This link is wrong, has expired or has been used. Please ask for another one."),
    4060005: ("error", "This recovery form has run out. Please try again."),
    4060006: ("error", "This code is wrong, has expired or has been used. Check it, or ask for another one."),
    4070001: ("error", "This link is wrong, has expired or has been used. Please ask for another one."),
    4070002: ("error", "This address was confirmed already, or the form has done its work."),
    4070005: ("error", "This form has run out. Please try again."),
    4070006: ("error", "This code is wrong, has expired or has been used. Check it, or ask for another one."),
}
"""Number to kind and sentence. A placeholder is a key of the message's context."""


def message(number: int, **context: Any) -> Message:
    """Return a message of the catalogue, its placeholders filled from the context.

    >>> message(4000002, property="email").text
    'Please fill in: email.'
    """
    kind, text = CATALOGUE[number]
    return Message(number, kind, filled_in(text, context), context)


REASON: Final = 4000001
"""A message without a number of its own. Its context has the wording by which it is translated."""
WORDING: Final = "wording"
"""Where a context holds the wording; it is stored, and not shown."""
FORM: Final = "form"
"""The code of sentences that belong to no refusal."""
LINKED_TO_ANOTHER: Final = 4000027
"""A sign-in at a provider is another account's."""


def reason(topic: str, sentence: str, **parameters: Any) -> Message:
    """Return a message without a number of its own, for example `form/changed_meanwhile`.

    >>> reason("field_too_long", "More than {limit} characters.", limit=9).text
    'More than 9 characters.'
    """
    return because(REASON, topic, sentence, **parameters)


def because(number: int, topic: str, sentence: str, **parameters: Any) -> Message:
    """Return a message whose gap `reason` is a sentence of its own."""
    wording = Wording(FORM, topic, parameters)
    return message(number, reason=filled_in(sentence, parameters), **{WORDING: wording.to_wire()})


def in_other_words(number: int, topic: str, sentence: str) -> Message:
    """Return a message with another sentence than its number's, for a form where that would make no sense."""
    kind, _ = CATALOGUE[number]
    return Message(number, kind, sentence, {WORDING: Wording(FORM, topic).to_wire()})


def reason_of(refusal: Refusal) -> Message:
    """Return a refusal as a message of a form."""
    return message(REASON, reason=refusal.sentence, **{WORDING: refusal.wording.to_wire()})


def filled_in(sentence: str, context: Mapping[str, Any]) -> str:
    """Return a sentence with its placeholders filled from a context.

    >>> filled_in("{min_length} of {what}", {"min_length": 8})
    '8 of {what}'
    """
    return sentence.format_map(_Printable(context))


class _Printable(dict[str, Any]):
    """Prints lists as words; a placeholder without a value stays as it is."""

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            return f"{{{key}}}"
        value = super().__getitem__(key)
        return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
