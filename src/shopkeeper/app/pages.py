"""Build the server-rendered pages."""

from collections.abc import Sequence

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.accounts_elsewhere import stores_led_away, stores_with_passwords
from shopkeeper.app.commerce import Commerce
from shopkeeper.app.flows import (
    FlowBinding,
    return_urls,
)
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.app.shop_name import shop_name
from shopkeeper.flows.pipeline import Pipeline
from shopkeeper.http.caller_reader import CallerReader
from shopkeeper.http.pages.assets import read_demo
from shopkeeper.http.pages.engine_reads import EngineReads
from shopkeeper.http.pages.routes import PageRoutes, PageSettings
from shopkeeper.http.pages.shown_providers import ShownProvider, ShownProviders
from shopkeeper.identity.withdrawals import Withdrawals


def build_pages(
    infrastructure: Infrastructure,
    accounts: Accounts,
    commerce: Commerce,
    flow_bindings: Sequence[FlowBinding],
    *,
    callers: CallerReader,
    pipeline: Pipeline,
) -> PageRoutes:
    settings = infrastructure.settings
    return PageRoutes(
        PageSettings(
            base_url=infrastructure.base_url,
            ui_urls={flow_binding.handler.name: flow_binding.shown.ui_url for flow_binding in flow_bindings},
            form_targets=return_urls(settings, flow_bindings),
            demo=read_demo() if settings.demo else None,
            dev=settings.dev,
            shop_name=shop_name(settings),
            shortest_password=settings.selfservice.methods.password.config.min_password_length,
            recovery=settings.selfservice.flows.recovery.enabled,
            verification=settings.selfservice.flows.verification.enabled,
            providers=_shown_providers(accounts),
            leads_away=stores_led_away(settings),
            takes_passwords=stores_with_passwords(settings),
        ),
        database=infrastructure.database,
        pipeline=pipeline,
        callers=callers,
        sessions=accounts.sessions,
        identities=accounts.identities,
        withdrawals=Withdrawals(infrastructure.audit),
        reads=EngineReads(infrastructure.database, commerce.engines, commerce.stores),
        courier=commerce.courier,
        devices=commerce.devices,
        address_changes=accounts.address_changes,
    )


def _shown_providers(accounts: Accounts) -> ShownProviders:
    providers = [social.provider for social in accounts.methods.social]
    return ShownProviders({each.id: ShownProvider(each.preset, each.label) for each in providers})
