"""The programs that may ask about tokens: how they prove who they are, and which tokens they may learn of.

A caller learns nothing of a token that is not for it: the answer is that of an unknown token (RFC 7662 section 2.2).
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final
from urllib.parse import unquote_plus

from shopkeeper.crypto import digest, same
from shopkeeper.oauth.token_facts import OWN, TokenFacts

LONGEST_CREDENTIALS: Final = 8_192
"""Bytes of an `Authorization` header that are looked at."""


class Signed(StrEnum):
    """When an answer is a signed token (RFC 9701)."""

    ALLOWED = "allowed"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class IntrospectionCaller:
    """A program that may ask about tokens, and what it may learn. An empty condition holds for every token.

    Args:
        stores: the ids of the fronts whose tokens it may ask about.
        providers: `own`, and ids of providers.
        audiences: audiences of providers' tokens and, besides its own id, of own access tokens.
        clients: clients that tokens were issued to.
        subject_scopes: the names of the scopes that say who the subject is.
        username: whether it learns an address of the person.
        lifespan: how far ahead `exp` is at most.
    """

    id: str
    stores: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    audiences: frozenset[str] = frozenset()
    clients: frozenset[str] = frozenset()
    subject_scopes: frozenset[str] = frozenset()
    username: bool = False
    lifespan: timedelta = timedelta(minutes=5)
    signed: Signed = Signed.ALLOWED

    def fronts_among(self, fronts: Sequence[str]) -> Sequence[str]:
        """Return those of some fronts whose tokens it may ask about."""
        return [front for front in fronts if front in self.stores] if self.stores else fronts

    def hidden(self, facts: TokenFacts) -> str | None:
        """Return why a token is not for this caller, as a sentence for operators; None where it is."""
        if self.providers and facts.provider not in self.providers:
            return f"The caller may not ask about subjects of the provider {facts.provider}."
        if self.clients and facts.client_id not in self.clients:
            return f"The caller may not ask about tokens of {facts.client_id or 'no client'}."
        if not self._is_audience_of(facts):
            return "The token is for another audience than the caller."
        return None

    def _is_audience_of(self, facts: TokenFacts) -> bool:
        """Whether a token is for this caller. Sessions and visits of this server are for no certain audience."""
        if facts.provider == OWN:
            return not facts.audience or not {self.id, *self.audiences}.isdisjoint(facts.audience)
        return not self.audiences or not self.audiences.isdisjoint(facts.audience)


@dataclass(frozen=True, slots=True)
class CallerSecrets:
    """What a caller proves itself with, each as its SHA-256.

    Args:
        keys: presented as a bearer, or as the password of the caller's id with Basic.
        authorization: whole values of the `Authorization` header.
    """

    keys: Sequence[bytes] = ()
    authorization: Sequence[bytes] = ()


class CallerAuthentication:
    """Finds the caller that a value of the `Authorization` header proves.

    Every secret of every caller is compared, so that the time tells neither which one matches nor whether one does.
    """

    def __init__(self, callers: Mapping[IntrospectionCaller, CallerSecrets]) -> None:
        self.by_id = {caller.id: caller for caller in callers}
        self._values = [(caller, value) for caller, known in callers.items() for value in known.authorization]
        self._keys = [(caller, key) for caller, known in callers.items() for key in known.keys]

    def find(self, authorization: str) -> IntrospectionCaller | None:
        """Return the caller, or None where the value proves none."""
        if not authorization or len(authorization) > LONGEST_CREDENTIALS:
            return None
        whole = digest(authorization)
        found = [caller for caller, value in self._values if same(whole, value)]
        scheme, _, rest = authorization.partition(" ")
        if scheme.lower() == "bearer":
            key = digest(rest.strip(" "))
            found += [caller for caller, known in self._keys if same(key, known)]
        elif scheme.lower() == "basic":
            found += self._by_password(rest.strip(" "))
        return found[0] if found else None

    def _by_password(self, credentials: str) -> Sequence[IntrospectionCaller]:
        """Compare the password as it is, and decoded: clients encode both parts first (RFC 6749 section 2.3.1) or do
        not."""
        try:
            name, colon, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return []
        if not colon:
            return []
        names, keys = {name, unquote_plus(name)}, [digest(password), digest(unquote_plus(password))]
        matching = [caller for caller, known in self._keys if any([same(key, known) for key in keys])]  # noqa: C419
        return [caller for caller in matching if caller.id in names]
