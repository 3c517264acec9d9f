"""Findings about the mappers of social sign-in, which are tried with sample claims: advice for `shopkeeper doctor`."""

from typing import Final

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.social_providers import PLACE
from shopkeeper.credentials.claims_mapping import MappingFailed
from shopkeeper.credentials.social_provider import SocialProvider
from shopkeeper.identity.schema import Schema
from shopkeeper.jsonnet.errors import JsonnetFailed
from shopkeeper.openid.authenticated import Authenticated
from shopkeeper.openid.errors import ProviderUnavailable
from shopkeeper.settings import Finding

_CLAIMS: Final = {
    "email": "ada@example.org",
    "email_verified": True,
    "name": "Ada Lovelace",
    "given_name": "Ada",
    "family_name": "Lovelace",
    "nickname": "ada",
    "preferred_username": "ada",
    "picture": "https://example.org/ada.png",
    "profile": "https://example.org/ada",
    "website": "https://example.org/",
    "locale": "en",
}
_MOST: Final = 3
"""Faults that a sentence names."""
_LONGEST: Final = 300
"""Characters of what is said about a failure."""
_MISSING: Final = 4000002
"""The message of a trait that is missing. That is no fault: the customer is asked for it."""


async def mapper_findings(accounts: Accounts) -> list[Finding]:
    """Return a notice for each mapper that makes no identity of a person whose usual claims are known."""
    found = []
    others = {built.section.id: built.place for built in accounts.identity_providers.oidc}
    for index, social in enumerate(accounts.methods.social):
        fault = await _fault(social, accounts.schemas.default)
        if fault is not None:
            path = others.get(social.provider.id, f"{PLACE}[{index}].mapper_url")
            found.append(Finding("notice", path, f"{path} ({social.provider.id}) {fault}."))
    return found


async def _fault(social: SocialProvider, schema: Schema) -> str | None:
    claims = {**_CLAIMS, "iss": social.provider.issuer, "sub": "1"}
    sample = Authenticated(claims, subject="1", issuer=social.provider.issuer, raw_claims=claims)
    try:
        mapped = await social.mapper.map(sample)
    except MappingFailed as failed:
        where = f" in line {failed.line}" if failed.line is not None else ""
        what = "its result is no identity" if failed.cause == "mapper_result" else f"it fails{where}"
        return f"was tried with sample claims, and {what}{_said(failed.__cause__)}"
    except ProviderUnavailable:
        return "could not be tried, because nothing evaluates Jsonnet at the moment"
    violations = [violation for violation in schema.validate(mapped.traits) if violation.message.id != _MISSING]
    if violations:
        told = "; ".join(f"{violation.name}: {violation.message.text.rstrip('.')}" for violation in violations[:_MOST])
        return f"was tried with sample claims, and its traits do not fit the identity schema: {told}"
    return None


def _said(cause: BaseException | None) -> str:
    """Return the reason of the failure. It may repeat the sample claims, which belong to no customer."""
    said = cause.reason if isinstance(cause, JsonnetFailed) else str(cause or "")
    said = " ".join(said.split())[:_LONGEST].rstrip(".")
    return f": {said}" if said else ""
