"""The admin door: identities and sessions (contract page section 1.2). Unknown fields are refused here."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.credentials.imports import Imports
from shopkeeper.errors import BadRequest, Conflict, InvalidInput, MalformedBody, NotFound, Refusal, UnknownField
from shopkeeper.http.answering import empty_answer, error_object, json_answer
from shopkeeper.http.paging import PageTokens, link, page_size
from shopkeeper.http.reading import parse_json, read_body, require_uuid
from shopkeeper.http.shapes import Shapes
from shopkeeper.identity.draft import AddressInput, NewIdentity
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import AddressStatus, Identity, State, Via
from shopkeeper.sessions.service import Sessions
from shopkeeper.storage.database import Database

MOST_IN_A_BATCH = 1_000
BODY_TYPES = frozenset({"application/json", "application/json-patch+json"})


class AddressBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An address as an admin gives it."""

    value: str
    via: Via = Via.EMAIL
    verified: bool = False
    status: AddressStatus = AddressStatus.PENDING
    verified_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    id: str | None = None
    created_at: str | None = None
    updated_at: str | None = None


class IdentityBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An identity as an admin gives it."""

    traits: dict[str, Any]
    schema_id: str | None = None
    state: State | None = None
    metadata_public: Any = None
    metadata_admin: Any = None
    external_id: str | None = None
    credentials: dict[str, Any] | None = None
    verifiable_addresses: list[AddressBody] = msgspec.field(default_factory=list)
    recovery_addresses: list[AddressBody] = msgspec.field(default_factory=list)
    organization_id: None = None


class ReplacedIdentityBody(IdentityBody, forbid_unknown_fields=True, kw_only=True):
    """The same for replacing: schema and state must be said."""

    schema_id: str
    state: State


class BatchEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One identity of a batch."""

    create: IdentityBody
    patch_id: str | None = None


class BatchBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Several identities at once."""

    identities: list[BatchEntry]


class AdminIdentities:
    """`/identities` on the admin port."""

    def __init__(
        self,
        *,
        database: Database,
        identities: Identities,
        imports: Imports,
        shapes: Shapes,
        pages: PageTokens,
        admin_url: str,
        max_body: int,
    ) -> None:
        self._database = database
        self._identities = identities
        self._imports = imports
        self._shapes = shapes
        self._pages = pages
        self._admin_url = admin_url.rstrip("/")
        self._max_body = max_body

    def routes(self) -> list[Route]:
        """Every route of this door."""
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
        query = request.query_params
        size = page_size(query.get("page_size"))
        ids = [require_id(text) for text in query.getlist("ids")] if "ids" in query else None
        identifier = query.get("credentials_identifier")
        async with self._database.unit() as unit:
            found, next_after = await self._identities.list_(
                unit,
                page_size=size,
                after=self._pages.open(query.get("page_token"), of="identities"),
                ids=ids,
                credentials_identifier=identifier,
            )
        kept = {"page_size": str(size), **({"credentials_identifier": identifier} if identifier else {})}
        links = self._pages.links("/admin/identities", kept, of="identities", next_after=next_after)
        shown = [self._shapes.identity_for_admin(identity, listed=True) for identity in found]
        return json_answer(shown, headers={"Link": links})

    async def _create(self, request: Request) -> Response:
        identity = await self._make(await self._body(request, IdentityBody), actor=actor_of(request))
        location = f"{self._admin_url}/identities/{identity.id}"
        return json_answer(self._shapes.identity_for_admin(identity), 201, headers={"Location": location})

    async def _batch(self, request: Request) -> Response:
        """Each on its own: what can be made is made, the others say why not."""
        batch = await self._body(request, BatchBody)
        if len(batch.identities) > MOST_IN_A_BATCH:
            raise InvalidInput(f"A batch takes {MOST_IN_A_BATCH} identities at most.")
        return json_answer({"identities": [await self._entry(entry, actor_of(request)) for entry in batch.identities]})

    async def _entry(self, entry: BatchEntry, actor: str) -> dict[str, Any]:
        patch_id = {"patch_id": entry.patch_id} if entry.patch_id else {}
        try:
            identity = await self._make(entry.create, actor=actor)
        except Conflict:
            return {"action": "error", **patch_id, "error": error_object(Conflict())}
        except Refusal as refusal:
            return {"action": "error", **patch_id, "error": error_object(refusal)}
        return {"action": "create", "identity": str(identity.id), **patch_id}

    async def _read(self, request: Request) -> Response:
        async with self._database.unit() as unit:
            identity = await self._identities.require(unit, require_id(request.path_params["id"]), credentials=True)
        return json_answer(self._shapes.identity_for_admin(identity, configs=_shown(request)))

    async def _read_external(self, request: Request) -> Response:
        async with self._database.unit() as unit:
            identity = await self._identities.find_by_external_id(
                unit, request.path_params["external_id"], credentials=True
            )
        if identity is None:
            raise NotFound
        return json_answer(self._shapes.identity_for_admin(identity, configs=_shown(request)))

    async def _replace(self, request: Request) -> Response:
        identity_id = require_id(request.path_params["id"])
        body = await self._body(request, ReplacedIdentityBody)
        new = await self._new(body)
        async with self._database.unit() as unit:
            identity = await self._identities.replace(unit, identity_id, new, actor=actor_of(request))
        return json_answer(self._shapes.identity_for_admin(identity))

    async def _patch(self, request: Request) -> Response:
        identity_id = require_id(request.path_params["id"])
        operations = await self._document(request)
        if not isinstance(operations, list) or not all(isinstance(op, dict) for op in operations):
            raise MalformedBody(message="A JSON Patch is a list of operations (RFC 6902).")
        async with self._database.unit() as unit:
            identity = await self._identities.patch(unit, identity_id, operations, actor=actor_of(request))
        return json_answer(self._shapes.identity_for_admin(identity))

    async def _delete(self, request: Request) -> Response:
        async with self._database.unit() as unit:
            await self._identities.delete(unit, require_id(request.path_params["id"]), actor=actor_of(request))
        return empty_answer()

    async def _delete_credential(self, request: Request) -> Response:
        async with self._database.unit() as unit:
            await self._identities.delete_credential(
                unit, require_id(request.path_params["id"]), request.path_params["type"], actor=actor_of(request)
            )
        return empty_answer()

    async def _make(self, body: IdentityBody, *, actor: str) -> Identity:
        new = await self._new(body)
        async with self._database.unit() as unit:
            return await self._identities.create(unit, new, actor=actor)

    async def _new(self, body: IdentityBody) -> NewIdentity:
        return NewIdentity(
            traits=body.traits,
            schema_id=body.schema_id,
            state=body.state,
            metadata_public=body.metadata_public,
            metadata_admin=body.metadata_admin,
            external_id=body.external_id,
            credentials=await self._imports.read(body.credentials or {}),
            verifiable_addresses=[
                AddressInput(value=a.value, via=a.via, verified=a.verified, status=a.status, verified_at=a.verified_at)
                for a in body.verifiable_addresses
            ],
        )

    async def _document(self, request: Request) -> Any:
        """The body. Other sites' pages cannot send these types without asking first, and are not answered."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in BODY_TYPES:
            raise MalformedBody(message="Send the body as application/json, a patch as application/json-patch+json.")
        return parse_json(await read_body(request, limit=self._max_body))

    async def _body(self, request: Request, type_: type[Any]) -> Any:
        document = await self._document(request)
        try:
            return msgspec.convert(document, type_)
        except msgspec.ValidationError as invalid:
            raise refused_body(invalid) from invalid


class AdminSessions:
    """`/sessions`, and the sessions of an identity, on the admin port."""

    def __init__(self, *, database: Database, sessions: Sessions, shapes: Shapes, pages: PageTokens) -> None:
        self._database = database
        self._sessions = sessions
        self._shapes = shapes
        self._pages = pages

    def routes(self) -> list[Route]:
        """Every route of this door."""
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
        size, active = page_size(query.get("page_size")), _active(query.get("active"))
        async with self._database.unit() as unit:
            after = self._pages.open(query.get("page_token"), of="sessions")
            page = await self._sessions.list_all(unit, page_size=size, after=after, active=active)
        kept = {"page_size": str(size), **({"active": query["active"]} if active is not None else {})}
        links = self._pages.links("/admin/sessions", kept, of="sessions", next_after=page.next_after)
        shown = _expanded(query.getlist("expand"))
        return json_answer([shown(self._shapes, session) for session in page.items], headers={"Link": links})

    async def _list_of(self, request: Request) -> Response:
        identity_id, query = require_id(request.path_params["id"]), request.query_params
        size, active = page_size(query.get("page_size") or query.get("per_page")), _active(query.get("active"))
        async with self._database.unit() as unit:
            count = await self._sessions.count_for(unit, identity_id, active=active)
            page = await self._sessions.list_for(
                unit, identity_id, active=active, page_size=size, skip=_page_number(query.get("page")) * size
            )
        return json_answer(
            [self._shapes.session_in_list(session) for session in page.items],
            headers={
                "X-Total-Count": str(count),
                "Link": _numbered_links(request.path_params["id"], _page_number(query.get("page")), size),
            },
        )

    async def _delete_of(self, request: Request) -> Response:
        async with self._database.unit() as unit:
            await self._sessions.delete_for(unit, require_id(request.path_params["id"]), by=actor_of(request))
        return empty_answer()

    async def _read(self, request: Request) -> Response:
        async with self._database.unit() as unit:
            session = await self._sessions.require(unit, require_id(request.path_params["id"]))
        return json_answer(_expanded(request.query_params.getlist("expand"))(self._shapes, session))

    async def _revoke(self, request: Request) -> Response:
        async with self._database.unit() as unit:
            if not await self._sessions.revoke(unit, require_id(request.path_params["id"]), by=actor_of(request)):
                raise NotFound
        return empty_answer()

    async def _extend(self, request: Request) -> Response:
        async with self._database.unit() as unit:
            session = await self._sessions.extend(unit, require_id(request.path_params["id"]), by=actor_of(request))
        return json_answer(self._shapes.session(session))


def actor_of(request: Request) -> str:
    """Who does it, for the audit: the id of the admin's key."""
    return f"admin:{request.scope['admin']}"


def require_id(text: str) -> UUID:
    """The id of a path; raises `NotFound` for what is none."""
    return require_uuid(text, otherwise=NotFound())


def refused_body(invalid: msgspec.ValidationError) -> BadRequest:
    """The refusal of a body that is JSON but not what is asked for; for an unknown field the message says it."""
    sentence = str(invalid)
    if "unknown field" in sentence:
        return UnknownField(message=f"The body has a field that is not known here: {sentence}")
    return InvalidInput(f"The body is not what is expected: {sentence}")


def _shown(request: Request) -> frozenset[str]:
    return frozenset(request.query_params.getlist("include_credential"))


def _active(text: str | None) -> bool | None:
    return {"true": True, "false": False}.get((text or "").lower())


def _page_number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 7 else 0


def _numbered_links(identity_id: str, number: int, size: int) -> str:
    """The contract links pages of this list by number, a next and a previous one always."""
    path = f"/admin/identities/{identity_id}/sessions"
    pages = [("first", 0), ("next", number + 1), ("prev", number - 1)]
    sizes = {"page_size": str(size), "per_page": str(size)}
    return ",".join(link(path, {**sizes, "page": str(n), "page_token": str(n)}, rel) for rel, n in pages)


def _expanded(wanted: list[str]) -> Any:
    """How much of a session an admin sees: identity and devices only where asked for."""

    def shown(shapes: Shapes, session: Any) -> Mapping[str, Any]:
        bare = session if "devices" in wanted else replace(session, devices=())
        return shapes.session(bare) if "identity" in wanted else shapes.session_alone(bare)

    return shown
