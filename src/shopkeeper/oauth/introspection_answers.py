"""From the facts of a token to the answer of introspection (RFC 7662 section 2.2): a pure function.

    facts of the token -> is it enough, and for this caller? -> scopes by the rules -> subject scopes -> answer

Whatever does not hold leads to the same answer, `{"active": false}` and nothing else; `Explanation` says why, for
operators.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from shopkeeper.crypto import digest
from shopkeeper.oauth.introspection_callers import IntrospectionCaller
from shopkeeper.oauth.scope_rules import GrantedScope, SubjectFacts, SubjectKind
from shopkeeper.oauth.token_facts import TokenFacts

CUSTOMER_ID, ANONYMOUS_ID, EXTERNAL_USER_ID = "customer_id", "anonymous_id", "external_user_id"
INACTIVE: Final[Mapping[str, Any]] = {"active": False}
_PERSONS: Final = frozenset({SubjectKind.CUSTOMER, SubjectKind.EXTERNAL})
# The characters of a scope (RFC 6749 section 3.3) without the colon, which separates its parts.
_SUBJECT: Final = re.compile(r"[\x21\x23-\x39\x3B-\x5B\x5D-\x7E]{1,256}", re.ASCII)


class Scopes(Protocol):
    """The part of the scope rules that introspection needs."""

    def scopes_for(self, facts: SubjectFacts) -> Sequence[GrantedScope]: ...


@dataclass(frozen=True, slots=True)
class Explanation:
    """An answer, and what it is made of.

    Args:
        answer: what the caller gets.
        source: the name of the token source that recognised the token; None where none did.
        facts: what the token says; None where it is not valid.
        store: the front in which the answer is given.
        granted: the scopes by the rules, each with the rule that gives it.
        subject: the scopes that say who the subject is.
        refused: why the answer is inactive, as a sentence for operators; None where it is active.
    """

    answer: Mapping[str, Any]
    source: str | None = None
    facts: TokenFacts | None = None
    store: str | None = None
    granted: Sequence[GrantedScope] = ()
    subject: Sequence[str] = ()
    refused: str | None = None

    @property
    def active(self) -> bool:
        """Whether the answer says that the token is active."""
        return self.answer["active"] is True


def answer_about(
    facts: TokenFacts,
    caller: IntrospectionCaller,
    *,
    source: str,
    fronts: Sequence[str],
    front: str | None,
    scopes: Scopes,
    now: datetime,
) -> Explanation:
    """Return the answer about a verified token to a caller, with its explanation.

    Args:
        fronts: the ids of the fronts in which the token counts.
        front: the one that the caller names, for which alone the answer counts then; None where it names none.
    """
    allowed = caller.fronts_among(fronts)
    store = front or (allowed[0] if len(allowed) == 1 else None)
    refused = _why_inactive(facts, now) or _why_elsewhere(fronts, allowed, front) or caller.hidden(facts)
    if refused is not None:
        return Explanation(INACTIVE, source, facts, store, refused=refused)
    granted = scopes.scopes_for(facts.for_rules(store)) if facts.by_rules else ()
    subject = [f"{name}:{value}" for name, value in _subjects(facts) if name in caller.subject_scopes]
    scope = dict.fromkeys([*facts.scope, *(each.scope for each in granted), *subject])
    answer = {
        "active": True,
        "scope": " ".join(scope),
        "exp": int(min(facts.expires_at, now + caller.lifespan).timestamp()),
        "sub": facts.subject,
        "iss": facts.issuer,
        "token_type": facts.token_type,
        "kind": facts.kind,
        **_optional(facts, caller),
    }
    return Explanation(answer, source, facts, store, tuple(granted), tuple(subject))


def _why_inactive(facts: TokenFacts, now: datetime) -> str | None:
    return facts.insufficient or (None if now < facts.expires_at else "The token has expired.")


def _why_elsewhere(fronts: Sequence[str], allowed: Sequence[str], front: str | None) -> str | None:
    if not allowed:
        return f"The caller may not ask about tokens of {', '.join(fronts)}."
    if front is None or front in allowed:
        return None
    return f"The token does not count in {front}, or not for the caller."


def _optional(facts: TokenFacts, caller: IntrospectionCaller) -> Mapping[str, Any]:
    """Return the members that an answer has only where something is known."""
    members = {
        "iat": int(facts.issued_at.timestamp()) if facts.issued_at else None,
        "client_id": facts.client_id,
        "aud": facts.audience[0] if len(facts.audience) == 1 else list(facts.audience),
        "username": facts.username if caller.username else None,
        "act": facts.actor,
    }
    return {name: value for name, value in members.items() if value}


def _subjects(facts: TokenFacts) -> Sequence[tuple[str, str]]:
    """Return the subject as commercetools' scopes name it. A service acts for no person."""
    if facts.kind is SubjectKind.GUEST:
        return [(ANONYMOUS_ID, facts.subject)]
    if facts.kind not in _PERSONS:
        return []
    key = customer_key(facts.issuer, facts.subject)
    return [(CUSTOMER_ID, key), (EXTERNAL_USER_ID, facts.subject if _SUBJECT.fullmatch(facts.subject) else key)]


def customer_key(issuer: str, subject: str) -> str:
    """Return the key of a person at the engine: 43 characters that commercetools allows in keys.

    The length keeps issuer and subject apart, so that no other pair gives the same key.

    >>> customer_key("https://id.example", "auth0|5d71")
    'Ym-ikyWVzj58mdeMziM_zOFclOlcEsgFEfbhAKvBT1k'
    """
    return base64.urlsafe_b64encode(digest(f"{len(issuer)}:{issuer}{subject}")).rstrip(b"=").decode()
