"""The self-service flows: their list, and what is configured for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shopkeeper.app.ground import Foundation
from shopkeeper.app.methods import Methods
from shopkeeper.app.people import People
from shopkeeper.app.shop import Shop
from shopkeeper.flows.dispatch import Dispatcher
from shopkeeper.flows.handler import FlowHandler
from shopkeeper.flows.login import Login, LoginSettings
from shopkeeper.flows.pipeline import Pipeline
from shopkeeper.flows.registrar import Registrar
from shopkeeper.flows.registration import Registration, RegistrationSettings
from shopkeeper.flows.return_to import AfterFlow, ReturnAddresses
from shopkeeper.http import presentations
from shopkeeper.http.presentations import Presentation
from shopkeeper.http.selfservice import CALLBACKS
from shopkeeper.settings import Settings
from shopkeeper.settings.later import REGISTER_LATER
from shopkeeper.settings.selfservice import After


def build_return_addresses(ground: Foundation) -> ReturnAddresses:
    selfservice = ground.settings.selfservice
    return ReturnAddresses(
        default=selfservice.default_browser_return_url,
        allowed=selfservice.allowed_return_urls,
        base_url=f"{ground.base_url}/",
    )


def build_registrar(ground: Foundation, people: People, shop: Shop) -> Registrar:
    return Registrar(
        enabled=ground.settings.selfservice.flows.registration.enabled,
        mitigate_enumeration=ground.settings.security.account_enumeration.mitigate,
        methods=people.methods.for_registration,
        database=ground.database,
        schemas=people.schemas,
        identities=people.identities,
        throttle=people.throttles["registration"],
        courier=shop.courier,
        cache=ground.cache,
        before=shop.completion.before,
    )


@dataclass(frozen=True, slots=True)
class Conversation:
    """One kind of flow: what it does, and how the doors show it."""

    handler: FlowHandler
    shown: Presentation


def build_conversations(ground: Foundation, people: People, *, registrar: Registrar) -> Sequence[Conversation]:
    """Every kind of flow. The pipeline, the routes, the pages and the addresses to return to follow from this list."""
    flows = ground.settings.selfservice.flows
    return [
        Conversation(
            Login(
                settings=_login_settings(ground.settings, people.methods),
                methods=people.methods.for_login,
                schemas=people.schemas,
                identities=people.identities,
            ),
            presentations.login(ui_url=flows.login.ui_url),
        ),
        Conversation(
            Registration(
                settings=_registration_settings(ground.settings, people.methods),
                registrar=registrar,
                schemas=people.schemas,
            ),
            presentations.registration(ui_url=flows.registration.ui_url),
        ),
    ]


def build_pipeline(
    ground: Foundation, people: People, shop: Shop, conversations: Sequence[Conversation], *, registrar: Registrar
) -> Pipeline:
    return_addresses = build_return_addresses(ground)
    dispatcher = Dispatcher(
        database=ground.database,
        completion=shop.completion,
        registrar=registrar,
        identities=people.identities,
        clock=ground.clock,
        return_addresses=return_addresses,
    )
    return Pipeline(
        [conversation.handler for conversation in conversations],
        database=ground.database,
        dispatcher=dispatcher,
        clock=ground.clock,
        return_addresses=return_addresses,
        callback_url=f"{ground.base_url}{CALLBACKS}",
    )


def return_urls(settings: Settings, conversations: Sequence[Conversation]) -> Sequence[str]:
    """Every address that a browser may be sent to when a form has done its work."""
    selfservice = settings.selfservice
    afters = [conversation.handler.settings.after for conversation in conversations]
    configured = [url for after in afters for url in (after.default, *after.by_method.values()) if url]
    return [*selfservice.allowed_return_urls, selfservice.default_browser_return_url, *configured]


def _login_settings(settings: Settings, methods: Methods) -> LoginSettings:
    flow = settings.selfservice.flows.login
    return LoginSettings(
        lifespan=flow.lifespan,
        after=_after(flow.after, methods),
        identifier_first=flow.style == "identifier_first",
        mitigate_enumeration=settings.security.account_enumeration.mitigate,
    )


def _registration_settings(settings: Settings, methods: Methods) -> RegistrationSettings:
    flow = settings.selfservice.flows.registration
    return RegistrationSettings(
        lifespan=flow.lifespan,
        after=_after(flow.after, methods),
        enabled=flow.enabled,
        two_steps=not flow.one_step,
        one_group=len(methods.for_registration) == 1 and not _further_methods_wait(settings),
        signs_in={
            method.name: any(hook.hook == "session" for hook in flow.after.hooks_of(method.name))
            for method in methods.for_registration
        },
    )


def _further_methods_wait(settings: Settings) -> bool:
    """Whether other ways to register are configured, though not in effect yet: the form has their order already."""
    waiting = tuple(f"selfservice.methods.{name}" for name in REGISTER_LATER)
    return any(finding.path.startswith(waiting) for finding in settings.not_in_effect())


def _after(after: After[Any], methods: Methods) -> AfterFlow:
    urls = {name: after.of(name).default_browser_return_url for name in methods.names}
    return AfterFlow(
        by_method={name: url for name, url in urls.items() if url}, default=after.default_browser_return_url
    )
