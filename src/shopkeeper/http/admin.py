"""The admin API: identities and sessions (contract page section 1.2). Unknown fields and filters are refused."""

from collections.abc import Mapping, Sequence
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
    ReplacedIdentityBody,
    active_or_not,
    body_of,
    document_of,
    identity_query,
    refuse_unserved,
    shown_credentials,
)
from shopkeeper.http.paging import PageTokens, numbered_page, page_size
from shopkeeper.http.requests import client_of, require_uuid
from shopkeeper.http.responses import empty_response, error_object, json_response
from shopkeeper.http.serializers import Serializers
from shopkeeper.identity.builder import NewIdentity
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Identity
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.values import Session
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
        wanted = identity_query(request.query_params)
        async with self._database.unit() as unit:
            found, next_after = await self._identities.list_(
                unit,
                page_size=wanted.size,
                after=self._pages.open(wanted.page_token, of="identities"),
                ids=wanted.ids,
                credentials_identifier=wanted.identifier,
            )
        shown = [self._serializers.identity_for_admin(each, configs=wanted.configs, listed=True) for each in found]
        if wanted.ids is not None:  # all in one response, so there are no other pages
            return json_response(shown)
        links = self._pages.links("/admin/identities", wanted.again(), of="identities", next_after=next_after)
        return json_response(shown, headers={"Link": links})

    async def _create(self, request: Request) -> Response:
        body = await body_of(request, IdentityBody, limit=self._max_body)
        identity = await self._make(body, by=self._operators.of(request))
        location = f"{self._admin_url}/identities/{identity.id}"
        return json_response(self._serializers.identity_for_admin(identity), 201, headers={"Location": location})

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
        configs = shown_credentials(request.query_params)
        async with self._database.unit() as unit:
            identity = await self._identities.require(unit, require_id(request.path_params["id"]), credentials=True)
        return json_response(self._serializers.identity_for_admin(identity, configs=configs))

    async def _read_external(self, request: Request) -> Response:
        configs = shown_credentials(request.query_params)
        async with self._database.unit() as unit:
            identity = await self._identities.find_by_external_id(
                unit, request.path_params["external_id"], credentials=True
            )
        if identity is None:
            raise NotFound
        return json_response(self._serializers.identity_for_admin(identity, configs=configs))

    async def _replace(self, request: Request) -> Response:
        identity_id, by = require_id(request.path_params["id"]), self._operators.of(request)
        new = await self._new(await body_of(request, ReplacedIdentityBody, limit=self._max_body))
        async with self._database.unit() as unit:
            identity = await self._identities.replace(unit, identity_id, new, actor=by.name, client_ip=by.client.ip)
        return json_response(self._serializers.identity_for_admin(identity))

    async def _patch(self, request: Request) -> Response:
        identity_id, by = require_id(request.path_params["id"]), self._operators.of(request)
        operations = await document_of(request, limit=self._max_body)
        if not isinstance(operations, list) or not all(isinstance(op, dict) for op in operations):
            raise MalformedBody(message="A JSON Patch is a list of operations (RFC 6902).")
        async with self._database.unit() as unit:
            identity = await self._identities.patch(
                unit, identity_id, operations, actor=by.name, client_ip=by.client.ip
            )
        return json_response(self._serializers.identity_for_admin(identity))

    async def _delete(self, request: Request) -> Response:
        identity_id, by = require_id(request.path_params["id"]), self._operators.of(request)
        async with self._database.unit() as unit:
            await self._identities.delete(unit, identity_id, actor=by.name, client_ip=by.client.ip)
        return empty_response()

    async def _delete_credential(self, request: Request) -> Response:
        identity_id, by = require_id(request.path_params["id"]), self._operators.of(request)
        async with self._database.unit() as unit:
            await self._identities.delete_credential(
                unit, identity_id, request.path_params["type"], actor=by.name, client_ip=by.client.ip
            )
        return empty_response()

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
        )


class AdminSessions:
    """`/sessions`, and the sessions of an identity, on the admin port."""

    def __init__(
        self,
        *,
        database: Database,
        sessions: Sessions,
        serializers: Serializers,
        pages: PageTokens,
        operators: Operators,
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._serializers = serializers
        self._pages = pages
        self._operators = operators

    def routes(self) -> list[Route]:
        """List the routes."""
        return [
            Route("/sessions", self._list, methods=["GET"]),
            Route("/sessions/{id}", self._read, methods=["GET"]),
            Route("/sessions/{id}", self._revoke, methods=["DELETE"]),
            Route("/sessions/{id}/extend", self._extend, methods=["PATCH"]),
            Route("/identities/{id}/sessions", self._list_of, methods=["GET"]),
            Route("/identities/{id}/sessions", self._delete_of, methods=["DELETE"]),
        ]

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        refuse_unserved(query, served=("active", "expand", "page_size", "page_token"))
        size, active = page_size(query.get("page_size")), active_or_not(query.get("active"))
        async with self._database.unit() as unit:
            after = self._pages.open(query.get("page_token"), of="sessions")
            page = await self._sessions.list_all(unit, page_size=size, after=after, active=active)
        chosen = {name: query.getlist(name) for name in ("active", "expand") if name in query}
        again = {"page_size": str(size), **chosen}
        links = self._pages.links("/admin/sessions", again, of="sessions", next_after=page.next_after)
        shown = self._expanded(query.getlist("expand"), page.items)
        return json_response(shown, headers={"Link": links})

    async def _list_of(self, request: Request) -> Response:
        identity_id, query = require_id(request.path_params["id"]), request.query_params
        refuse_unserved(query, served=("active", "page", "page_size", "page_token", "per_page"))
        page, active = numbered_page(query), active_or_not(query.get("active"))
        async with self._database.unit() as unit:
            count = await self._sessions.count_for(unit, identity_id, active=active)
            found = await self._sessions.list_for(unit, identity_id, active=active, page_size=page.size, skip=page.skip)
        # The contract always links a next and a previous page of this list.
        links = page.links(f"/admin/identities/{identity_id}/sessions", "first", "next", "prev")
        return json_response(
            [self._serializers.session_in_list(session) for session in found.items],
            headers={"X-Total-Count": str(count), "Link": links},
        )

    async def _delete_of(self, request: Request) -> Response:
        identity_id, by = require_id(request.path_params["id"]), self._operators.of(request)
        async with self._database.unit() as unit:
            await self._sessions.delete_for(unit, identity_id, by=by.name, client=by.client)
        return empty_response()

    async def _read(self, request: Request) -> Response:
        async with self._database.unit() as unit:
            session = await self._sessions.require(unit, require_id(request.path_params["id"]))
        [shown] = self._expanded(request.query_params.getlist("expand"), [session])
        return json_response(shown)

    async def _revoke(self, request: Request) -> Response:
        session_id, by = require_id(request.path_params["id"]), self._operators.of(request)
        async with self._database.unit() as unit:
            if not await self._sessions.revoke(unit, session_id, by=by.name, client=by.client):
                raise NotFound
        return empty_response()

    async def _extend(self, request: Request) -> Response:
        session_id, by = require_id(request.path_params["id"]), self._operators.of(request)
        async with self._database.unit() as unit:
            session = await self._sessions.extend(unit, session_id, by=by.name, client=by.client)
        return json_response(self._serializers.session(session))

    def _expanded(self, wanted: Sequence[str], sessions: Sequence[Session]) -> list[Mapping[str, Any]]:
        """Return sessions as an admin sees them, with identity and devices only where `wanted` names them."""
        bare = sessions if "devices" in wanted else [replace(session, devices=()) for session in sessions]
        shown = self._serializers.session if "identity" in wanted else self._serializers.session_alone
        return [shown(session) for session in bare]


def require_id(text: str) -> UUID:
    """Return the id of a path. Raises `NotFound` if it is not a UUID."""
    return require_uuid(text, otherwise=NotFound())


def _failed(entry: BatchEntry, refusal: Refusal) -> dict[str, Any]:
    patch_id = {"patch_id": entry.patch_id} if entry.patch_id else {}
    return {"action": "error", **patch_id, "error": error_object(refusal)}
