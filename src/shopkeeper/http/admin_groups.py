"""The admin API: groups of identities, and their members."""

from typing import Annotated, Final
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.errors import InvalidInput, NotFound
from shopkeeper.http.admin import Operators, require_id
from shopkeeper.http.admin_input import body_of, refuse_unserved
from shopkeeper.http.paging import PageTokens, page_size
from shopkeeper.http.requests import require_uuid
from shopkeeper.http.responses import empty_response, json_response
from shopkeeper.http.serializers import Serializers
from shopkeeper.http.versions import etag_of, expected_versions
from shopkeeper.identity.group_names import group_name_of, readable
from shopkeeper.identity.groups import MOST_AT_ONCE, Groups, NewGroup
from shopkeeper.identity.text_limits import unstorable
from shopkeeper.storage.database import Database

_PAGING: Final = ("page_size", "page_token")
_GROUPS, _MEMBERS = "groups", "members"
"""The names of the lists for their page tokens."""


class GroupBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A group, as an admin sends it. What it has when it is read is accepted and ignored."""

    name: str | None = None
    display_name: str | None = None
    external_id: str | None = None
    id: str | None = None
    version: int | None = None
    created_at: str | None = None
    updated_at: str | None = None

    def read(self) -> NewGroup:
        return NewGroup(self.name, self.display_name, self.external_id)


_Ids = Annotated[list[str], msgspec.Meta(max_length=MOST_AT_ONCE)]


class MembersBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Members to add and to remove, by the ids of their identities."""

    add: _Ids = msgspec.field(default_factory=list)
    remove: _Ids = msgspec.field(default_factory=list)


class AdminGroups:
    """`/groups` on the admin port."""

    def __init__(
        self,
        *,
        database: Database,
        groups: Groups,
        serializers: Serializers,
        pages: PageTokens,
        operators: Operators,
        admin_url: str,
        max_body: int,
    ) -> None:
        self._database = database
        self._groups = groups
        self._serializers = serializers
        self._pages = pages
        self._operators = operators
        self._admin_url = admin_url.rstrip("/")
        self._max_body = max_body

    def routes(self) -> list[Route]:
        """List the routes."""
        one, members = "/groups/{id}", "/groups/{id}/members"
        member = f"{members}/{{identity_id}}"
        return [
            Route("/groups", self._list, methods=["GET"]),
            Route("/groups", self._create, methods=["POST"]),
            Route(one, self._read, methods=["GET"]),
            Route(one, self._replace, methods=["PUT"]),
            Route(one, self._delete, methods=["DELETE"]),
            Route(members, self._list_members, methods=["GET"]),
            Route(members, self._change_members, methods=["PATCH"]),
            Route(member, self._add_member, methods=["PUT"]),
            Route(member, self._remove_member, methods=["DELETE"]),
        ]

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        refuse_unserved(query, served=("external_id", "name", *_PAGING))
        name, external_id = query.get("name") or None, query.get("external_id") or None
        size = page_size(query.get("page_size"))
        async with self._database.reading() as unit:
            found, next_after = await self._groups.list_(
                unit,
                name=None if name is None else group_name_of(name) if readable(name) else "",
                external_id=None if external_id is None else "" if unstorable(external_id) else external_id,
                page_size=size,
                after=self._pages.open(query.get("page_token"), of=_GROUPS),
            )
        repeated = {key: value for key in ("external_id", "name") if (value := query.get(key))}
        again = {"page_size": str(size), **repeated}
        links = self._pages.links("/admin/groups", again, of=_GROUPS, next_after=next_after)
        return json_response([self._serializers.group(each) for each in found], headers={"Link": links})

    async def _create(self, request: Request) -> Response:
        body, by = await body_of(request, GroupBody, limit=self._max_body), self._operators.of(request)
        async with self._database.unit() as unit:
            group = await self._groups.create(unit, body.read(), actor=by.name, client_ip=by.client.ip)
        headers = {"Location": f"{self._admin_url}/groups/{group.id}", **etag_of(group.version)}
        return json_response(self._serializers.group(group), 201, headers=headers)

    async def _read(self, request: Request) -> Response:
        async with self._database.reading() as unit:
            group = await self._groups.require(unit, _group_id(request))
        return json_response(self._serializers.group(group), headers=etag_of(group.version))

    async def _replace(self, request: Request) -> Response:
        body, by = await body_of(request, GroupBody, limit=self._max_body), self._operators.of(request)
        async with self._database.unit() as unit:
            group = await self._groups.replace(
                unit,
                _group_id(request),
                body.read(),
                versions=expected_versions(request),
                actor=by.name,
                client_ip=by.client.ip,
            )
        return json_response(self._serializers.group(group), headers=etag_of(group.version))

    async def _delete(self, request: Request) -> Response:
        """Delete a group, its members in one transaction after the other: there may be any number of them. Where one
        fails, the request can be repeated."""
        group_id, by = _group_id(request), self._operators.of(request)
        versions, deleted = expected_versions(request), False
        while not deleted:
            async with self._database.unit() as unit:
                deleted = await self._groups.delete_some(
                    unit, group_id, versions=versions, actor=by.name, client_ip=by.client.ip
                )
            versions = None
        return empty_response()

    async def _list_members(self, request: Request) -> Response:
        query, group_id = request.query_params, _group_id(request)
        refuse_unserved(query, served=_PAGING)
        size, of = page_size(query.get("page_size")), f"{_MEMBERS} {group_id}"
        async with self._database.reading() as unit:
            found, next_after = await self._groups.list_members(
                unit, group_id, page_size=size, after=self._pages.open(query.get("page_token"), of=of)
            )
        path = f"/admin/groups/{group_id}/members"
        links = self._pages.links(path, {"page_size": str(size)}, of=of, next_after=next_after)
        return json_response([self._serializers.member(each) for each in found], headers={"Link": links})

    async def _change_members(self, request: Request) -> Response:
        body, by = await body_of(request, MembersBody, limit=self._max_body), self._operators.of(request)
        async with self._database.unit() as unit:
            changed = await self._groups.change_members(
                unit,
                _group_id(request),
                add=_ids("add", body.add),
                remove=_ids("remove", body.remove),
                versions=expected_versions(request),
                actor=by.name,
                client_ip=by.client.ip,
            )
        return json_response({"added": changed.added, "removed": changed.removed})

    async def _add_member(self, request: Request) -> Response:
        return await self._change_member(request, joins=True)

    async def _remove_member(self, request: Request) -> Response:
        return await self._change_member(request, joins=False)

    async def _change_member(self, request: Request, *, joins: bool) -> Response:
        member, by = [require_id(request.path_params["identity_id"])], self._operators.of(request)
        async with self._database.unit() as unit:
            await self._groups.change_members(
                unit,
                _group_id(request),
                add=member if joins else (),
                remove=() if joins else member,
                versions=expected_versions(request),
                actor=by.name,
                client_ip=by.client.ip,
            )
        return empty_response()


def _group_id(request: Request) -> UUID:
    return require_uuid(request.path_params["id"], otherwise=NotFound(message="There is no group of this id."))


def _ids(name: str, given: list[str]) -> list[UUID]:
    wrong = InvalidInput(f"'{name}' has an id that is not a UUID.")
    return list(dict.fromkeys(require_uuid(text, otherwise=wrong) for text in given))
