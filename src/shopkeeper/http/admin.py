"""The admin API: identities (contract page section 1.2). Unknown fields and filters are refused."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.client import Client
from shopkeeper.credentials.imports import Imports
from shopkeeper.errors import Conflict, InvalidInput, MalformedBody, NotFound, Refusal
from shopkeeper.http.admin_input import (
    MOST_IN_A_BATCH,
    BatchBody,
    BatchEntry,
    IdentityBody,
    IdentityQuery,
    ReplacedIdentityBody,
    body_of,
    document_of,
    identity_query,
    shown_credentials,
)
from shopkeeper.http.admin_scopes import refuse_credentials, stores_of
from shopkeeper.http.paging import PageTokens
from shopkeeper.http.requests import client_of, require_uuid
from shopkeeper.http.responses import empty_response, error_object, json_response
from shopkeeper.http.serializers import Serializers
from shopkeeper.http.versions import etag_of, expected_versions
from shopkeeper.identity.builder import NewIdentity
from shopkeeper.identity.memberships import GivenGroups
from shopkeeper.identity.reader import NO_IDENTITY
from shopkeeper.identity.search import Referring
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Identity
from shopkeeper.sessions.store import known_in
from shopkeeper.storage.database import Database
from shopkeeper.storage.unavailable import DatabaseUnavailable


@dataclass(frozen=True, slots=True)
class Operator:
    """The admin that acts, and the client address: for the audit trail."""

    name: str
    client: Client


class Operators:
    """Reads the operator of a request. Forwarded addresses count only if a trusted proxy wrote them."""

    def __init__(self, *, trusted_proxies: int) -> None:
        self._trusted_proxies = trusted_proxies

    def of(self, request: Request) -> Operator:
        """Return the id of the admin's key, and the client of the request."""
        client = client_of(request.scope, trusted_proxies=self._trusted_proxies)
        return Operator(f"admin:{request.scope['admin']}", client)


class AdminIdentities:
    """`/identities` on the admin port."""

    def __init__(
        self,
        *,
        database: Database,
        identities: Identities,
        imports: Imports,
        serializers: Serializers,
        pages: PageTokens,
        operators: Operators,
        admin_url: str,
        max_body: int,
    ) -> None:
        self._database = database
        self._identities = identities
        self._imports = imports
        self._serializers = serializers
        self._pages = pages
        self._operators = operators
        self._admin_url = admin_url.rstrip("/")
        self._max_body = max_body

    def routes(self) -> list[Route]:
        """List the routes."""
        one = "/identities/{id}"
        return [
            Route("/identities", self._list, methods=["GET"]),
            Route("/identities", self._create, methods=["POST"]),
            Route("/identities", self._batch, methods=["PATCH"]),
            Route("/identities/by/external/{external_id:path}", self._read_external, methods=["GET"]),
            Route(one, self._read, methods=["GET"]),
            Route(one, self._replace, methods=["PUT"]),
            Route(one, self._patch, methods=["PATCH"]),
            Route(one, self._delete, methods=["DELETE"]),
            Route(f"{one}/credentials/{{type}}", self._delete_credential, methods=["DELETE"]),
        ]

    async def _list(self, request: Request) -> Response:
        wanted, within = identity_query(request.query_params), self._within(request)
        refuse_credentials(request, wanted.configs)
        if wanted.ids is not None:  # all in one response, so there are no other pages
            async with self._database.unit() as unit:
                chosen = await self._identities.list_by_ids(unit, wanted.ids, within=within)
            return json_response(self._listed(chosen, wanted))
        async with self._database.unit() as unit:
            found, next_after = await self._identities.list_(
                unit,
                search=replace(wanted.search, within=within),
                page_size=wanted.size,
                after=self._pages.open_text(wanted.page_token, of=wanted.order),
            )
        links = self._pages.links("/admin/identities", wanted.again, of=wanted.order, next_after=next_after, first="")
        return json_response(self._listed(found, wanted), headers={"Link": links})

    def _listed(self, found: Sequence[Identity], wanted: IdentityQuery) -> list[Any]:
        return [self._serializers.identity_for_admin(each, configs=wanted.configs, listed=True) for each in found]

    def _within(self, request: Request) -> Referring | None:
        """Return the filter for the identities that the request's key may see."""
        stores = stores_of(request)
        return None if stores is None else known_in(stores)

    async def _create(self, request: Request) -> Response:
        body = await body_of(request, IdentityBody, limit=self._max_body)
        identity = await self._make(body, by=self._operators.of(request))
        location = f"{self._admin_url}/identities/{identity.id}"
        headers = {"Location": location, **etag_of(identity.version)}
        return json_response(self._serializers.identity_for_admin(identity), 201, headers=headers)

    async def _batch(self, request: Request) -> Response:
        """Create each identity of a batch on its own; an entry that fails has its error in the result."""
        batch = await body_of(request, BatchBody, limit=self._max_body)
        if len(batch.identities) > MOST_IN_A_BATCH:
            raise InvalidInput(f"A batch takes {MOST_IN_A_BATCH} identities at most.")
        by = self._operators.of(request)
        told: list[dict[str, Any]] = []
        away: DatabaseUnavailable | None = None
        for entry in batch.identities:
            try:
                told.append(_failed(entry, away) if away else await self._entry(entry, by=by))
            except DatabaseUnavailable as failed:  # the others are not tried: each would wait as long
                told.append(_failed(entry, failed))
                away = DatabaseUnavailable(retry_after=1)
        return json_response({"identities": told})

    async def _entry(self, entry: BatchEntry, *, by: Operator) -> dict[str, Any]:
        patch_id = {"patch_id": entry.patch_id} if entry.patch_id else {}
        try:
            identity = await self._make(entry.create, by=by)
        except DatabaseUnavailable:
            raise
        except Conflict:
            return _failed(entry, Conflict())
        except Refusal as refusal:
            return _failed(entry, refusal)
        return {"action": "create", "identity": str(identity.id), **patch_id}

    async def _read(self, request: Request) -> Response:
        configs, within = shown_credentials(request.query_params), self._within(request)
        refuse_credentials(request, configs)
        identity_id = require_id(request.path_params["id"])
        async with self._database.unit() as unit:
            if within is not None and not await self._identities.list_by_ids(unit, [identity_id], within=within):
                raise NotFound(message=NO_IDENTITY)
            identity = await self._identities.require(unit, identity_id, credentials=True)
        return self._shown(identity, configs=configs)

    async def _read_external(self, request: Request) -> Response:
        configs, within = shown_credentials(request.query_params), self._within(request)
        refuse_credentials(request, configs)
        async with self._database.unit() as unit:
            identity = await self._identities.find_by_external_id(
                unit, request.path_params["external_id"], credentials=True
            )
            if identity is not None and within is not None:
                identity = next(iter(await self._identities.list_by_ids(unit, [identity.id], within=within)), None)
        if identity is None:
            raise NotFound
        return self._shown(identity, configs=configs)

    async def _replace(self, request: Request) -> Response:
        identity_id, by = require_id(request.path_params["id"]), self._operators.of(request)
        new = await self._new(await body_of(request, ReplacedIdentityBody, limit=self._max_body))
        async with self._database.unit() as unit:
            identity = await self._identities.replace(
                unit,
                identity_id,
                new,
                versions=expected_versions(request),
                actor=by.name,
                client_ip=by.client.ip,
            )
        return self._shown(identity)

    async def _patch(self, request: Request) -> Response:
        identity_id, by = require_id(request.path_params["id"]), self._operators.of(request)
        operations = await document_of(request, limit=self._max_body)
        if not isinstance(operations, list) or not all(isinstance(op, dict) for op in operations):
            raise MalformedBody(message="A JSON Patch is a list of operations (RFC 6902).")
        async with self._database.unit() as unit:
            identity = await self._identities.patch(
                unit,
                identity_id,
                operations,
                versions=expected_versions(request),
                actor=by.name,
                client_ip=by.client.ip,
            )
        return self._shown(identity)

    async def _delete(self, request: Request) -> Response:
        identity_id, by = require_id(request.path_params["id"]), self._operators.of(request)
        async with self._database.unit() as unit:
            await self._identities.delete(
                unit, identity_id, versions=expected_versions(request), actor=by.name, client_ip=by.client.ip
            )
        return empty_response()

    async def _delete_credential(self, request: Request) -> Response:
        identity_id, by = require_id(request.path_params["id"]), self._operators.of(request)
        async with self._database.unit() as unit:
            await self._identities.delete_credential(
                unit,
                identity_id,
                request.path_params["type"],
                identifier=request.query_params.get("identifier") or None,
                actor=by.name,
                client_ip=by.client.ip,
            )
        return empty_response()

    def _shown(self, identity: Identity, *, configs: frozenset[str] = frozenset()) -> Response:
        document = self._serializers.identity_for_admin(identity, configs=configs)
        return json_response(document, headers=etag_of(identity.version))

    async def _make(self, body: IdentityBody, *, by: Operator) -> Identity:
        new = await self._new(body)
        async with self._database.unit() as unit:
            return await self._identities.create(unit, new, actor=by.name, client_ip=by.client.ip)

    async def _new(self, body: IdentityBody) -> NewIdentity:
        return NewIdentity(
            traits=body.traits,
            schema_id=body.schema_id,
            state=body.state,
            metadata_public=body.metadata_public,
            metadata_admin=body.metadata_admin,
            external_id=body.external_id,
            credentials=await self._imports.read(body.credentials or {}),
            verifiable_addresses=[address.read() for address in body.verifiable_addresses],
            recovery_addresses=[address.read() for address in body.recovery_addresses],
            groups=None if body.groups is None else GivenGroups(body.groups),
        )


def require_id(text: str) -> UUID:
    """Return the id of a path. Raises `NotFound` if it is not a UUID."""
    return require_uuid(text, otherwise=NotFound())


def _failed(entry: BatchEntry, refusal: Refusal) -> dict[str, Any]:
    patch_id = {"patch_id": entry.patch_id} if entry.patch_id else {}
    return {"action": "error", **patch_id, "error": error_object(refusal)}
