"""The identity schemas, for clients that render their own forms (contract page section 1.1)."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.http.responses import json_response
from shopkeeper.identity.schema import Schemas


def schema_routes(schemas: Schemas) -> list[Route]:
    """List the routes: `/schemas` lists schemas, `/schemas/{id}` returns one; the id is plain or in base64url."""

    async def list_all(request: Request) -> Response:
        every = schemas.all()
        link = '</schemas?page=0&page_size=250&page_token=first&per_page=250>; rel="first"'
        return json_response(
            [{"id": schema.id, "schema": schema.document} for schema in every],
            headers={"X-Total-Count": str(len(every)), "Link": link},
        )

    async def get(request: Request) -> Response:
        return json_response(schemas.require_public(request.path_params["id"]).document)

    return [Route("/schemas", list_all, methods=["GET"]), Route("/schemas/{id:path}", get, methods=["GET"])]
