"""Reads the answer of a session server to `/sessions/whoami` (contract page section 1.3)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from shopkeeper.openid.calls import parse_object
from shopkeeper.openid.claim_paths import Reading, claimed_names
from shopkeeper.openid.errors import ProviderAnswerInvalid
from shopkeeper.sessions.token_sources import SESSION, External

LEVELS: Final = ("aal0", "aal1", "aal2", "aal3")

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class _Address(msgspec.Struct):
    value: str
    via: str = ""
    verified: bool = False


class _Method(msgspec.Struct):
    method: str = ""


class _Identity(msgspec.Struct):
    id: _Id
    traits: dict[str, Any] | None = None
    state: str = "active"
    verifiable_addresses: list[_Address] | None = None
    metadata_public: Any = None


class ServerSession(msgspec.Struct):
    """A session as the server tells it; what is not used here is left out."""

    id: _Id
    identity: _Identity
    expires_at: datetime
    active: bool = False
    authenticated_at: datetime | None = None
    authenticator_assurance_level: str = "aal0"
    authentication_methods: list[_Method] | None = None

    @property
    def usable(self) -> bool:
        """Whether the session and its identity are active."""
        return self.active and self.identity.state == "active"

    def reaches(self, level: str) -> bool:
        """Whether its assurance is at least a level."""
        own = self.authenticator_assurance_level
        return own in LEVELS and LEVELS.index(own) >= LEVELS.index(level)

    def external(self, *, provider: str, issuer: str, groups_from: Sequence[str]) -> External:
        """Return the subject: the identity, at its server."""
        identity = self.identity
        document = {"traits": identity.traits, "metadata_public": identity.metadata_public}
        found = [claimed_names(document, path) for path in groups_from]
        return External(
            provider=provider,
            issuer=issuer,
            subject=identity.id,
            claims=_claims(self),
            expires_at=self.expires_at,
            groups=tuple(dict.fromkeys(group for names in found for group in names.names)),
            groups_left_out=any(names.reading is not Reading.COMPLETE for names in found),
            token_type=SESSION,
        )


def read_session(body: bytes) -> ServerSession:
    """Read an answer. Raises `ProviderAnswerInvalid`."""
    document = parse_object(body, what="The session")
    try:
        session = msgspec.convert(document, ServerSession, strict=True)
    except (msgspec.ValidationError, OverflowError) as wrong:
        raise ProviderAnswerInvalid("The answer is not a session as Kratos has it.", cause="not_a_session") from wrong
    if session.expires_at.tzinfo is None:
        raise ProviderAnswerInvalid("The session's end has no time zone.", cause="not_a_session")
    return session


def _claims(session: ServerSession) -> Mapping[str, Any]:
    """Return what is known of a person, in the names of OpenID Connect Core section 5.1, with the traits themselves."""
    identity, traits = session.identity, session.identity.traits or {}
    addresses = identity.verifiable_addresses or []
    name = traits.get("name")
    names = name if isinstance(name, dict) else {}
    mail = _preferred(addresses, "email")
    phone = _preferred(addresses, "sms")
    told = {
        "sub": identity.id,
        "sid": session.id,
        "acr": session.authenticator_assurance_level,
        "amr": [each.method for each in session.authentication_methods or []],
        "email": mail.value if mail else traits.get("email"),
        "email_verified": mail.verified if mail else False,
        "phone_number": phone.value if phone else traits.get("phone"),
        "phone_number_verified": phone.verified if phone else False,
        "given_name": names.get("first"),
        "family_name": names.get("last"),
        "name": name if isinstance(name, str) else None,
        "traits": traits,
        "metadata_public": identity.metadata_public,
    }
    return {claim: value for claim, value in told.items() if value is not None}


def _preferred(addresses: Sequence[_Address], via: str) -> _Address | None:
    """Return a verified address, else the first."""
    ours = [address for address in addresses if address.via == via]
    return next((address for address in ours if address.verified), ours[0] if ours else None)
