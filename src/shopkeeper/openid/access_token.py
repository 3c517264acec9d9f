"""What an access token must say (RFC 9068 section 4, RFC 7662 section 2.2).

The claims of a token, and the members of an introspection answer, have the same names and pass the same checks. Who
the audience is decides: a token that its provider made for another API, or for its own userinfo, is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Final

from shopkeeper.jose.claims import LEEWAY, require_times
from shopkeeper.openid.access_token_presets import AT_JWT, AccessTokenPreset
from shopkeeper.openid.errors import ProviderTokenInvalid
from shopkeeper.openid.logout_token import LOGOUT_EVENT
from shopkeeper.openid.provider import Provider
from shopkeeper.openid.token_claims import require_audience, require_issuer, require_text, text_claim
from shopkeeper.openid.tokens import SignedToken, as_provider_error

MOST_SCOPES: Final = 200
LONGEST_SCOPES: Final = 4096
"""Characters of all scopes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessTokenRules:
    """What the access tokens of one configured provider must be like.

    Args:
        audiences: for whom a token may be; one of them is enough.
        clients: the applications that a token may have been issued to; empty for all.
        subject_claim, scope_claims: the preset's, or what the settings say.
        leeway: how much the provider's clock and ours may differ.
    """

    preset: AccessTokenPreset
    audiences: frozenset[str]
    clients: frozenset[str] = frozenset()
    subject_claim: str = "sub"
    scope_claims: tuple[str, ...] = ("scope", "scp")
    leeway: timedelta = LEEWAY


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """An access token that was verified, and is for us. `(issuer, subject)` is who it is about; nothing else is."""

    issuer: str
    subject: str
    claims: Mapping[str, Any]
    audience: tuple[str, ...]
    client_id: str | None
    scope: tuple[str, ...]
    expires_at: datetime
    by_application: bool


def check_access_token(
    token: SignedToken,
    typ: str | None,
    rules: AccessTokenRules,
    *,
    provider: Provider,
    announced: str | None,
    now: datetime,
) -> AccessToken:
    """Return what a token says whose signature was verified.

    Args:
        typ: its header's `typ`, in lower case.
        announced: the issuer in the provider's metadata.

    Raises:
        ProviderTokenInvalid: it is no access token, not for us, or not valid now.
    """
    issuer = require_issuer(token, provider, announced=announced)
    _require_no_other_kind(token.claims, typ, rules.preset)
    with as_provider_error():
        expires_at = require_times(token.claims, now=now, leeway=rules.leeway)
    return _read(token.claims, issuer, rules, expires_at)


def check_introspection(
    answer: Mapping[str, Any], rules: AccessTokenRules, *, provider: Provider, now: datetime, without_exp: timedelta
) -> AccessToken:
    """Return what a provider's introspection says of an active token.

    The answer comes from the provider itself, so its issuer may be left out, and so may its end: then the token counts
    for `without_exp`. The audience may not: where there is none, the client must be one of ours that are listed.

    Raises:
        ProviderTokenInvalid: the token is not active, of another issuer, not for us, or not valid now.
    """
    if answer.get("active") is not True:
        raise ProviderTokenInvalid("The provider says that the token is not active.", cause="inactive")
    iss = answer.get("iss")
    issuer = provider.issuer if iss is None else provider.account_issuer(iss) if isinstance(iss, str) else None
    if issuer is None:
        raise ProviderTokenInvalid("The token was issued by another provider.", cause="issuer")
    claims = dict(answer)
    if "exp" not in claims:
        claims["exp"] = (now + without_exp).timestamp()
    with as_provider_error():
        expires_at = require_times(claims, now=now, leeway=rules.leeway, issued=False)
    if "aud" not in answer:
        _require_listed_client(answer, rules)
        return _read({**answer, "aud": sorted(rules.audiences)}, issuer, rules, expires_at, claims=answer)
    return _read(answer, issuer, rules, expires_at)


def _require_listed_client(answer: Mapping[str, Any], rules: AccessTokenRules) -> None:
    if not rules.clients or _first_text(answer, rules.preset.client_claims) not in rules.clients:
        raise ProviderTokenInvalid("The provider does not say for which application the token is.", cause="audience")


def _read(
    said: Mapping[str, Any],
    issuer: str,
    rules: AccessTokenRules,
    expires_at: datetime,
    *,
    claims: Mapping[str, Any] | None = None,
) -> AccessToken:
    preset = rules.preset
    audience = _audience(said, rules)
    client_id = _first_text(said, preset.client_claims)
    if rules.clients and client_id not in rules.clients:
        raise ProviderTokenInvalid("The token was issued to an application that is not accepted.", cause="client")
    by_application = _is_an_application(said, client_id, preset)
    # An application's own token need not name a person.
    named = rules.subject_claim if not by_application or rules.subject_claim in said else "sub"
    return AccessToken(
        issuer=issuer,
        subject=require_text(said, named),
        claims=said if claims is None else claims,
        audience=audience,
        client_id=client_id,
        scope=_scopes(said, rules.scope_claims),
        expires_at=expires_at,
        by_application=by_application,
    )


def _require_no_other_kind(claims: Mapping[str, Any], typ: str | None, preset: AccessTokenPreset) -> None:
    """Refuse ID tokens, logout tokens and refresh tokens, which the same keys sign."""
    events = claims.get("events")
    if isinstance(events, Mapping) and LOGOUT_EVENT in events:
        raise ProviderTokenInvalid("This is a logout token and no access token.", cause="typ")
    if typ == AT_JWT:
        return
    marked = any(name in claims and value in {None, claims[name]} for name, value in _hashable(preset.marks, claims))
    if not marked or any(name in claims for name in preset.sign_in_claims):
        raise ProviderTokenInvalid(
            "This is no access token: send the one that the provider issued for this API, and no ID token.", cause="typ"
        )


def _hashable(marks: Mapping[str, str | None], claims: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """Return the marks without those whose value in the claims is no text where the mark wants one."""
    return [(name, value) for name, value in marks.items() if value is None or isinstance(claims.get(name), str)]


def _audience(said: Mapping[str, Any], rules: AccessTokenRules) -> tuple[str, ...]:
    name = next((name for name in rules.preset.audience_claims if name in said), "aud")
    return tuple(require_audience({"aud": said.get(name)}, rules.audiences))


def _is_an_application(said: Mapping[str, Any], client_id: str | None, preset: AccessTokenPreset) -> bool:
    """Return whether a token speaks for an application and not for a person (RFC 9068 section 5)."""
    if client_id is not None and said.get("sub") == client_id:
        return True
    if preset.application_without is not None and preset.application_without not in said:
        return True
    return any(
        isinstance(said.get(name), str) and fnmatchcase(said[name], pattern)
        for name, pattern in preset.applications.items()
    )


def _first_text(said: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((text for name in names if (text := text_claim(said, name)) is not None), None)


def _scopes(said: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the scopes: a text with spaces between them (RFC 6749 section 3.3), or a list as Okta has it."""
    value = next((said[name] for name in names if said.get(name) is not None), "")
    several = value[:LONGEST_SCOPES].split(" ") if isinstance(value, str) else value if isinstance(value, list) else []
    readable = [each for each in several[:MOST_SCOPES] if isinstance(each, str) and 0 < len(each) <= LONGEST_SCOPES]
    return tuple(dict.fromkeys(readable))
