"""The self-service flows: their list, and what is configured for each."""

from collections.abc import Sequence
from typing import Any

from shopkeeper.app.ground import Foundation
from shopkeeper.app.methods import Methods
from shopkeeper.app.people import People
from shopkeeper.app.shop import Shop
from shopkeeper.flows.login import Login, LoginSettings
from shopkeeper.flows.pipeline import Kind, Pipeline
from shopkeeper.flows.registration import Registrar, Registration, RegistrationSettings
from shopkeeper.flows.return_to import AfterFlow, ReturnAddresses
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
        settings=_registration_settings(ground.settings, people.methods),
        methods=people.methods.for_registration,
        schemas=people.schemas,
        identities=people.identities,
        throttle=people.throttles["registration"],
        courier=shop.courier,
        cache=ground.cache,
    )


def build_pipeline(ground: Foundation, people: People, shop: Shop, *, registrar: Registrar) -> Pipeline:
    flows = ground.settings.selfservice.flows
    kinds: Sequence[Kind] = [
        Login(
            settings=LoginSettings(
                lifespan=flows.login.lifespan,
                after=_after(flows.login.after, people.methods),
                identifier_first=flows.login.style == "identifier_first",
                mitigate_enumeration=ground.settings.security.account_enumeration.mitigate,
            ),
            methods=people.methods.for_login,
            schemas=people.schemas,
            identities=people.identities,
        ),
        Registration(
            settings=_registration_settings(ground.settings, people.methods),
            registrar=registrar,
            schemas=people.schemas,
        ),
    ]
    return Pipeline(
        kinds,
        signing_in=shop.signing_in,
        clock=ground.clock,
        return_addresses=build_return_addresses(ground),
    )


def _registration_settings(settings: Settings, methods: Methods) -> RegistrationSettings:
    flow = settings.selfservice.flows.registration
    return RegistrationSettings(
        lifespan=flow.lifespan,
        after=_after(flow.after, methods),
        enabled=flow.enabled,
        two_steps=not flow.one_step,
        one_group=len(methods.for_registration) == 1 and not _further_methods_wait(settings),
        mitigate_enumeration=settings.security.account_enumeration.mitigate,
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
