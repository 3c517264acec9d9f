"""The route where an app exchanges its codes for a session token: `/sessions/token-exchange` (contract page 1.1)."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.errors import ERROR_HEADER
from shopkeeper.flows.flow import Flow
from shopkeeper.flows.outcomes import FlowInvalid
from shopkeeper.flows.token_exchange import Exchanged, TokenExchange
from shopkeeper.http.caller_reader import CallerReader
from shopkeeper.http.outcome_responses import OutcomeResponses
from shopkeeper.http.responses import empty_response, json_response

TO_BE_CONTINUED = 422


class TokenExchangeRoutes:
    """Answers apps that come for their session."""

    def __init__(self, *, exchange: TokenExchange, callers: CallerReader, responses: OutcomeResponses) -> None:
        self._exchange = exchange
        self._callers = callers
        self._responses = responses

    def routes(self) -> list[Route]:
        """List the routes."""
        return [Route("/sessions/token-exchange", self._answer, methods=["GET"])]

    async def _answer(self, request: Request) -> Response:
        """Answer the session with its token; 422 and the flow where the sign-in has to be continued in the app; what
        registering answers where that starts no session. A request without an answer's body spends no codes."""
        if request.method == "HEAD":
            return empty_response(200)
        caller, query = await self._callers.of(request), request.query_params
        init_code, return_to_code = query.get("init_code", ""), query.get("return_to_code", "")
        found = await self._exchange.exchange(init_code, return_to_code, caller)
        if isinstance(found, Flow):
            headers = {ERROR_HEADER: FlowInvalid.code, **self._responses.language_headers(found, caller)}
            return json_response(self._responses.flow(found, caller), TO_BE_CONTINUED, headers)
        if isinstance(found, Exchanged):
            return json_response(self._responses.exchanged(found.signed_in))
        return self._responses.answer(found, caller, as_json=True)
