"""Build the routes of self-service: flows, callbacks, sign-out, and what comes back from other servers."""

from collections.abc import Sequence
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.commerce import Commerce
from shopkeeper.app.flows import (
    FlowBinding,
    build_returning,
)
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.app.provider_logout import build_backchannel_logout, build_logout, build_silent_sign_on
from shopkeeper.flows.pipeline import Pipeline
from shopkeeper.flows.store_handlers import StoreHandlers
from shopkeeper.flows.token_exchange import TokenExchange
from shopkeeper.http.backchannel_logout import BackchannelLogoutRoutes
from shopkeeper.http.callbacks import CallbackRoutes
from shopkeeper.http.caller_reader import CallerReader
from shopkeeper.http.cookies import CookiePolicy
from shopkeeper.http.error_page import ErrorPage
from shopkeeper.http.logout import LogoutRoutes
from shopkeeper.http.outcome_responses import OutcomeResponses
from shopkeeper.http.pages.leaving import LeavingPage
from shopkeeper.http.pages.one_click import OneClickPages, Purpose
from shopkeeper.http.pages.repeated_form import RepeatedForm
from shopkeeper.http.refused_flows import RefusedFlows
from shopkeeper.http.selfservice import LARGEST_BODY, SelfService
from shopkeeper.http.serializers import Serializers
from shopkeeper.http.silent_sign_on import SilentSignOnRoutes
from shopkeeper.http.speculation import RefusedPage
from shopkeeper.http.token_exchange import TokenExchangeRoutes
from shopkeeper.http.wiring import RouteGroup


def build_self_service(
    infrastructure: Infrastructure,
    accounts: Accounts,
    commerce: Commerce,
    flow_bindings: Sequence[FlowBinding],
    *,
    handlers: StoreHandlers,
    callers: CallerReader,
    signing_out: CallerReader,
    cookies: CookiePolicy,
    pipeline: Pipeline,
    serializers: Serializers,
    one_click: OneClickPages,
    refused_page: RefusedPage,
    leaving: LeavingPage,
    repeated_form: RepeatedForm,
) -> tuple[RouteGroup, ...]:
    flows = infrastructure.settings.selfservice.flows
    silent_sign_on = build_silent_sign_on(infrastructure, accounts, pipeline)
    returning = build_returning(infrastructure, accounts, handlers, pipeline=pipeline)

    async def ask_first(request: Request, kind: str, action: str) -> Response:
        return await one_click.ask(request, Purpose(kind), action=action, fields={})

    error_page_for = partial(
        ErrorPage,
        database=infrastructure.database,
        clock=infrastructure.clock,
        url=flows.error.ui_url,
        budget=accounts.throttles["error"],
    )
    error_page = error_page_for(callers=callers)
    responses = OutcomeResponses(
        callers=callers,
        cookies=cookies,
        serializers=serializers,
        clock=infrastructure.clock,
        flow_responses={flow_binding.handler.name: flow_binding.shown for flow_binding in flow_bindings},
        caller_in=pipeline.caller_in,
    )
    refusals = RefusedFlows(
        pipeline=pipeline,
        responses=responses,
        callers=callers,
        cookies=cookies,
        clock=infrastructure.clock,
        base_url=serializers.base_url,
    )
    max_body = min(infrastructure.settings.http.max_body, LARGEST_BODY)
    logout_routes = LogoutRoutes(
        database=infrastructure.database,
        logout=build_logout(infrastructure, accounts, commerce),
        callers=signing_out,
        cookies=cookies,
        error_page=error_page_for(callers=signing_out),
        base_url=serializers.base_url,
        max_body=max_body,
        leaving=leaving.instead_of,
        refused_page=refused_page,
    )
    with_providers = (
        SilentSignOnRoutes(silent_sign_on=silent_sign_on, callers=callers, cookies=cookies, error_page=error_page),
        BackchannelLogoutRoutes(logout=build_backchannel_logout(infrastructure, accounts, commerce), callers=callers),
    )
    self_service = SelfService(
        pipeline=pipeline,
        callers=callers,
        cookies=cookies,
        responses=responses,
        refusals=refusals,
        error_page=error_page,
        base_url=serializers.base_url,
        kinds=[flow_binding.handler.name for flow_binding in flow_bindings],
        max_body=max_body,
        one_click=ask_first if infrastructure.settings.selfservice.methods.link.config.confirm_by_click else None,
        refused_page=refused_page,
        leaving=leaving.instead_of,
    )
    callbacks = CallbackRoutes(
        pipeline=pipeline,
        returning=returning,
        callers=callers,
        responses=responses,
        refusals=refusals,
        error_page=error_page,
        repeat_form=repeated_form.of,
        refused_page=refused_page,
    )
    exchange = TokenExchangeRoutes(
        exchange=TokenExchange(
            database=infrastructure.database,
            finish=returning.finish_for_app,
            completion=commerce.completion,
            budget=accounts.throttles["token_exchange"],
            clock=infrastructure.clock,
        ),
        callers=callers,
        responses=responses,
    )
    return self_service, logout_routes, *with_providers, error_page, callbacks, exchange
