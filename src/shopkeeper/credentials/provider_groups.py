"""The groups that a provider gives a person: what its mapper returns, else what the claims of the settings list."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog

from shopkeeper.credentials.claims_mapping import Mapped
from shopkeeper.credentials.social_provider import SocialProvider
from shopkeeper.identity.group_names import readable
from shopkeeper.identity.memberships import MOST_GROUPS
from shopkeeper.openid.authenticated import Authenticated
from shopkeeper.openid.claim_paths import Reading, claimed_names

log = structlog.get_logger("shopkeeper.oidc")

_TOO_MANY: Final = Reading.TOO_MANY.value


def told_groups(social: SocialProvider, authenticated: Authenticated, mapped: Mapped | None) -> Sequence[str] | None:
    """Return all groups that a provider gives, or None where it says nothing of them: then those that it gave before
    stay.

    A list that is not in the token (Entra's overage), is too long or is none is nothing that was said. It must not be
    read as "no groups", and it is logged.

    Args:
        mapped: what the mapper made, None where it was not asked. Its groups come before those of the claims.
    """
    if mapped is not None and mapped.groups is not None:
        return _bounded(social, [name for name in mapped.groups if readable(name)], claim="mapper")
    paths = [path for path in (social.groups_claim, social.roles_claim) if path]
    claims = {**authenticated.raw_claims, **authenticated.claims}
    lists = [_names(social, claims, path) for path in paths]
    if not paths or any(names is None for names in lists):
        return None
    return _bounded(social, [name for names in lists for name in names or ()], claim=", ".join(paths))


def _names(social: SocialProvider, claims: Mapping[str, Any], path: str) -> Sequence[str] | None:
    found = claimed_names(claims, path)
    if found.reading is not Reading.COMPLETE:
        _report(social, path, found.reading.value)
        return None
    return found.names


def _bounded(social: SocialProvider, names: Sequence[str], *, claim: str) -> Sequence[str] | None:
    distinct = tuple(dict.fromkeys(names))
    if len(distinct) > MOST_GROUPS:
        _report(social, claim, _TOO_MANY)
        return None
    return distinct


def _report(social: SocialProvider, claim: str, reason: str) -> None:
    log.warning("oidc.groups_not_read", provider=social.provider.id, claim=claim, reason=reason)
