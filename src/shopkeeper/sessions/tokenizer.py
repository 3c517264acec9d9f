"""Turns a session into a JSON Web Token, which other services verify without asking this server.

Such a token cannot be ended: it is valid until it expires. That is why it lives for a minute where no template says
otherwise, and never longer than its session.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

import msgspec
import structlog
from uuid_utils.compat import uuid4

from shopkeeper.clock import Clock
from shopkeeper.errors import BadRequest, Busy, Refusal
from shopkeeper.jose.keys import PrivateKey
from shopkeeper.jose.sign import sign
from shopkeeper.jsonnet.errors import JsonnetFailed, JsonnetUnavailable
from shopkeeper.jsonnet.evaluator import Jsonnet
from shopkeeper.sessions.values import Session

log = structlog.get_logger(__name__)

LARGEST: Final = 8 * 1024
"""Bytes of a token: more does not fit into a header of most servers."""
LONGEST_ACTING: Final = timedelta(minutes=1)
"""How long a token is valid that an agent gets who acts as a customer. It names the agent in `act` (RFC 8693 section
4.1)."""
_RETRY_AFTER: Final = 1


class TemplateUnknown(BadRequest):
    """The query asks for a template that the settings do not have."""

    code, named_in_kratos = "tokenize_as_unknown", False


class NoSubject(BadRequest):
    """The identity has no value for the claim `sub`."""

    code, named_in_kratos = "tokenize_as_without_subject", False


class TokenizerFailed(Refusal):
    """The mapper of a template fails, or its result cannot be the claims of a token. The log says why."""

    code, status, named_in_kratos = "tokenizer_failed", 500, False
    message = "This session cannot be made into a token: the template's mapper fails. The shop's log says why."


@dataclass(frozen=True, slots=True)
class TokenTemplate:
    """A kind of token.

    Args:
        ttl: how long a token is valid at most.
        mapper: Jsonnet that adds claims; None where the token has the usual ones only.
    """

    ttl: timedelta
    key: PrivateKey
    mapper: str | None = None
    subject_source: Literal["id", "external_id"] = "id"


class _Mapped(msgspec.Struct, frozen=True):
    claims: dict[str, Any]


class SessionTokenizer:
    """Makes tokens of sessions, by template (contract page section 3, `tokenize_as`).

    A mapper reads `std.extVar("session")`, the session as whoami shows it, and `std.extVar("claims")`, the claims so
    far; its result is `{claims: {...}}`.
    """

    def __init__(self, templates: Mapping[str, TokenTemplate], *, issuer: str, jsonnet: Jsonnet, clock: Clock) -> None:
        self._templates = dict(templates)
        self._issuer = issuer
        self._jsonnet = jsonnet
        self._clock = clock

    async def tokenize(self, session: Session, name: str, *, shown: bytes) -> str:
        """Return the token of a session.

        Args:
            name: the template.
            shown: the session as whoami shows it, in JSON.

        Raises:
            TemplateUnknown: there is no such template.
            NoSubject: the identity has no external id, and the template wants it.
            TokenizerFailed: the mapper fails.
            Busy: too many mappers are at work.
        """
        template = self._templates.get(name)
        if template is None:
            raise TemplateUnknown(f"There is no template '{name[:64]}' in session.whoami.tokenizer.templates.")
        claims = self._claims(session, template)
        if template.mapper is not None:
            claims = {**await self._mapped(name, template.mapper, shown, claims), **claims}
        token = sign(claims, template.key, typ="JWT")
        if len(token) > LARGEST:
            log.warning("tokenizer.failed", template=name, reason="the token is too large", size=len(token))
            raise TokenizerFailed
        return token

    def _claims(self, session: Session, template: TokenTemplate) -> dict[str, Any]:
        now, acting = self._clock.now(), session.actor
        ttl = template.ttl if acting is None else min(template.ttl, LONGEST_ACTING)
        ends = min(now + ttl, session.expires_at, session.idle_ends_at or session.expires_at)
        return {
            "jti": str(uuid4()),
            "iss": self._issuer,
            "sub": _subject(session, template),
            "sid": str(session.id),
            "iat": int(now.timestamp()),
            "nbf": int(now.timestamp()),
            "exp": int(ends.timestamp()),
            **({"act": {"sub": acting.subject}} if acting is not None else {}),
        }

    async def _mapped(self, name: str, mapper: str, shown: bytes, claims: Mapping[str, Any]) -> Mapping[str, Any]:
        variables = {"session": msgspec.Raw(shown), "claims": claims}
        try:
            result = await self._jsonnet.evaluate(mapper, variables=variables)
            mapped = msgspec.json.decode(result, type=_Mapped).claims
        except JsonnetUnavailable as busy:
            raise Busy(retry_after=_RETRY_AFTER) from busy
        except JsonnetFailed as failed:
            # Not its reason, which may repeat any trait.
            log.warning("tokenizer.failed", template=name, reason=type(failed).__name__, line=failed.line)
            raise TokenizerFailed from failed
        except (msgspec.DecodeError, RecursionError) as wrong:
            log.warning("tokenizer.failed", template=name, reason="the result has no object `claims`")
            raise TokenizerFailed from wrong
        return mapped


def _subject(session: Session, template: TokenTemplate) -> str:
    if template.subject_source == "id":
        return str(session.identity.id)
    if session.identity.external_id is None:
        raise NoSubject("The identity has no external_id, and this template makes it the claim sub.")
    return session.identity.external_id
