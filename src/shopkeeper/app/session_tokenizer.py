"""Build what makes JSON Web Tokens of sessions: the templates of the settings, with their keys and mappers."""

from typing import Final

from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.jose.algorithms import FITTING
from shopkeeper.jose.errors import KeysInvalid
from shopkeeper.jose.keys import PrivateKeySet
from shopkeeper.jsonnet.errors import JsonnetFailed
from shopkeeper.notify.references import Unreadable, load
from shopkeeper.sessions.tokenizer import SessionTokenizer, TokenTemplate
from shopkeeper.settings.session_tokenizer import TokenTemplate as Section

PLACE: Final = "session.whoami.tokenizer.templates"


async def build_session_tokenizer(infrastructure: Infrastructure) -> SessionTokenizer:
    """Build it with all templates. Raises `ValueError` where a key or a mapper cannot be used; it names the place."""
    sections = infrastructure.settings.session.whoami.tokenizer.templates
    return SessionTokenizer(
        {name: await _template(f"{PLACE}.{name}", section, infrastructure) for name, section in sections.items()},
        issuer=infrastructure.base_url,
        jsonnet=infrastructure.jsonnet,
        clock=infrastructure.clock,
    )


async def _template(place: str, section: Section, infrastructure: Infrastructure) -> TokenTemplate:
    try:
        document = await load(section.jwks_url, infrastructure.http_client)
        keys = PrivateKeySet.parse(document.encode(), FITTING)
    except (Unreadable, KeysInvalid) as wrong:
        raise ValueError(f"{place}.jwks_url cannot be used: {str(wrong).rstrip('.')}.") from wrong
    return TokenTemplate(
        ttl=section.ttl,
        key=keys.current,
        mapper=await _mapper(place, section, infrastructure),
        subject_source=section.subject_source,
    )


async def _mapper(place: str, section: Section, infrastructure: Infrastructure) -> str | None:
    if section.claims_mapper_url is None:
        return None
    try:
        source = await load(section.claims_mapper_url, infrastructure.http_client)
        await infrastructure.jsonnet.check(source)
    except Unreadable as unreadable:
        raise ValueError(f"{place}.claims_mapper_url cannot be used: {unreadable}.") from unreadable
    except JsonnetFailed as broken:
        reason = str(broken).rstrip(".")
        raise ValueError(f"{place}.claims_mapper_url cannot be used as Jsonnet: {reason}.") from broken
    return source
