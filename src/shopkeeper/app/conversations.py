"""The self-service flows: their list, and what is configured for each."""

from collections.abc import Sequence

from shopkeeper.app.ground import Foundation
from shopkeeper.app.people import People
from shopkeeper.app.shop import Shop
from shopkeeper.credentials.password import Password
from shopkeeper.flows.login import Login, LoginSettings
from shopkeeper.flows.pipeline import Kind, Pipeline
from shopkeeper.flows.registration import Registrar, Registration, RegistrationSettings
from shopkeeper.flows.return_to import AfterFlow, ReturnAddresses
from shopkeeper.settings import Settings
from shopkeeper.settings.selfservice import After, LoginHook, RegistrationHook


def build_return_addresses(ground: Foundation) -> ReturnAddresses:
    selfservice = ground.settings.selfservice
    return ReturnAddresses(
        default=selfservice.default_browser_return_url,
        allowed=selfservice.allowed_return_urls,
        base_url=f"{ground.base_url}/",
    )


def build_registrar(ground: Foundation, people: People, shop: Shop) -> Registrar:
    return Registrar(
        settings=_registration_settings(ground.settings),
        methods=_methods(ground, people),
        schemas=people.schemas,
        identities=people.identities,
        throttle=people.throttles["registration"],
        courier=shop.courier,
        cache=ground.cache,
    )


def _methods(ground: Foundation, people: People) -> Sequence[Password]:
    """The methods that are switched on."""
    return [people.password] if ground.settings.selfservice.methods.password.enabled else []


def build_pipeline(ground: Foundation, people: People, shop: Shop, *, registrar: Registrar) -> Pipeline:
    flows = ground.settings.selfservice.flows
    kinds: Sequence[Kind] = [
        Login(
            settings=LoginSettings(
                lifespan=flows.login.lifespan,
                after=_after(flows.login.after),
                identifier_first=flows.login.style == "identifier_first",
                mitigate_enumeration=ground.settings.security.account_enumeration.mitigate,
            ),
            methods=_methods(ground, people),
            schemas=people.schemas,
            identities=people.identities,
        ),
        Registration(
            settings=_registration_settings(ground.settings),
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


def _registration_settings(settings: Settings) -> RegistrationSettings:
    flow = settings.selfservice.flows.registration
    return RegistrationSettings(
        lifespan=flow.lifespan,
        after=_after(flow.after),
        enabled=flow.enabled,
        two_steps=not flow.one_step,
        one_group=not any(finding.path.startswith(_FURTHER_METHODS) for finding in settings.not_in_effect()),
        mitigate_enumeration=settings.security.account_enumeration.mitigate,
        signs_in={"password": any(hook.hook == "session" for hook in flow.after.hooks_of("password"))},
    )


# Other ways to register that are configured but not in effect yet: their groups decide the order of the form already.
_FURTHER_METHODS = tuple(f"selfservice.methods.{name}" for name in ("code", "oidc", "passkey", "webauthn"))


def _after(after: After[LoginHook] | After[RegistrationHook]) -> AfterFlow:
    own = {"password": after.password.default_browser_return_url}
    return AfterFlow(
        by_method={method: url for method, url in own.items() if url}, default=after.default_browser_return_url
    )
