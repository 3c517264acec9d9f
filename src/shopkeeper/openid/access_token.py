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
from shopkeeper.openid.access_token_presets import APPLICATION_NAMES, APPLICATIONS, AT_JWT, AccessTokenPreset
from shopkeeper.openid.errors import ProviderTokenInvalid
from shopkeeper.openid.logout_token import LOGOUT_EVENT
from shopkeeper.openid.provider import Provider
from shopkeeper.openid.token_claims import require_audience, require_issuer, require_text, text_claim
from shopkeeper.openid.token_kinds import refuse_other_kinds, require_access_kind
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
    return _read(token.claims, _audience(token.claims, rules), issuer, rules, expires_at)


def check_introspection(
    answer: Mapping[str, Any], rules: AccessTokenRules, *, provider: Provider, now: datetime, without_exp: timedelta
) -> AccessToken:
    """Return what a provider's introspection says of an active token.

    The answer comes from the provider itself, so its issuer may be left out, and so may its end: then the token counts
    for `without_exp`. Where it has no audience, the client must be one of ours that are listed, and the answer must
    say that the token is an access token: providers answer about refresh tokens too (RFC 7662 section 2.1). The
    audience stays empty then.

    Raises:
        ProviderTokenInvalid: the token is not active, no access token, of another issuer, not for us, or not valid now.
    """
    if answer.get("active") is not True:
        raise ProviderTokenInvalid("The provider says that the token is not active.", cause="inactive")
    iss = answer.get("iss")
    issuer = provider.issuer if iss is None else provider.account_issuer(iss) if isinstance(iss, str) else None
    if issuer is None:
        raise ProviderTokenInvalid("The token was issued by another provider.", cause="issuer")
    refuse_other_kinds(answer)
    claims = dict(answer)
    if "exp" not in claims:
        claims["exp"] = (now + without_exp).timestamp()
    with as_provider_error():
        expires_at = require_times(claims, now=now, leeway=rules.leeway, issued=False)
    if answer.get("aud") in (None, []):
        _require_listed_client(answer, rules)
        require_access_kind(answer)
        return _read(answer, (), issuer, rules, expires_at)
    return _read(answer, _audience(answer, rules), issuer, rules, expires_at)


def _require_listed_client(answer: Mapping[str, Any], rules: AccessTokenRules) -> None:
    if not rules.clients or _first_text(answer, rules.preset.client_claims) not in rules.clients:
        raise ProviderTokenInvalid("The provider does not say for which application the token is.", cause="audience")


def _read(
    said: Mapping[str, Any], audience: tuple[str, ...], issuer: str, rules: AccessTokenRules, expires_at: datetime
) -> AccessToken:
    preset = rules.preset
    client_id = _first_text(said, preset.client_claims)
    if rules.clients and client_id not in rules.clients:
        raise ProviderTokenInvalid("The token was issued to an application that is not accepted.", cause="client")
    by_application = _is_an_application(said, client_id, preset)
    if not by_application and _has_one(said, APPLICATION_NAMES):
        raise ProviderTokenInvalid(
            "The subject has the name of an application: configure the preset of the provider, auth0 or keycloak.",
            cause="subject",
        )
    # An application's own token need not name a person.
    named = rules.subject_claim if not by_application or said.get(rules.subject_claim) is not None else "sub"
    return AccessToken(
        issuer=issuer,
        subject=require_text(said, named),
        claims=said,
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
    refuse_other_kinds(claims)
    if typ == AT_JWT:
        return
    marked = any(_has_mark(claims.get(name), value) for name, value in preset.marks.items())
    if not marked or any(name in claims for name in preset.sign_in_claims):
        raise ProviderTokenInvalid(
            "This is no access token: send the one that the provider issued for this API, and no ID token.", cause="typ"
        )


def _has_mark(said: Any, wanted: str | None) -> bool:
    return said is not None if wanted is None else said == wanted


def _audience(said: Mapping[str, Any], rules: AccessTokenRules) -> tuple[str, ...]:
    name = next((name for name in rules.preset.audience_claims if name in said), "aud")
    return tuple(require_audience({"aud": said.get(name)}, rules.audiences))


def _is_an_application(said: Mapping[str, Any], client_id: str | None, preset: AccessTokenPreset) -> bool:
    """Return whether a token speaks for an application and not for a person (RFC 9068 section 5)."""
    if client_id is not None and said.get("sub") == client_id:
        return True
    if preset.application_without is not None and said.get(preset.application_without) is None:
        return True
    return _has_one(said, APPLICATIONS) or _has_one(said, preset.applications)


def _has_one(said: Mapping[str, Any], patterns: Mapping[str, str]) -> bool:
    return any(
        isinstance(said.get(name), str) and fnmatchcase(said[name], pattern) for name, pattern in patterns.items()
    )


def _first_text(said: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((text for name in names if (text := text_claim(said, name)) is not None), None)


def _scopes(said: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the scopes: a text with spaces between them (RFC 6749 section 3.3), or a list as Okta has it."""
    value = next((said[name] for name in names if said.get(name) is not None), "")
    several = value[:LONGEST_SCOPES].split(" ") if isinstance(value, str) else value if isinstance(value, list) else []
    readable = [each for each in several[:MOST_SCOPES] if isinstance(each, str) and 0 < len(each) <= LONGEST_SCOPES]
    return tuple(dict.fromkeys(readable))
