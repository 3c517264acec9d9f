"""Build the mappers that make identities of a provider's claims."""

from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.credentials.claims_mapping import ClaimsMapper, JsonnetMapper, SchemaMapper
from shopkeeper.identity.schema import Schemas
from shopkeeper.jsonnet.errors import JsonnetFailed
from shopkeeper.notify.references import Unreadable, load


class MapperUnusable(ValueError):
    """A mapper cannot be read, or is no Jsonnet. The sentence has no subject and no full stop."""


async def build_mapper(
    url: str | None, infrastructure: Infrastructure, schemas: Schemas, *, provider: str
) -> ClaimsMapper:
    """Build the mapper at an address, or the one by the schema where there is none. Raises `MapperUnusable`."""
    if url is None:
        return SchemaMapper(schemas)
    try:
        source = await load(url, infrastructure.http_client)
        await infrastructure.jsonnet.check(source)
    except Unreadable as unreadable:
        raise MapperUnusable(f"cannot be used: {unreadable}") from unreadable
    except JsonnetFailed as broken:
        raise MapperUnusable(f"cannot be used as Jsonnet: {str(broken).rstrip('.')}") from broken
    return JsonnetMapper(source, infrastructure.jsonnet, provider=provider)
