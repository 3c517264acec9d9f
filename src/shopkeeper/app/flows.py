"""The self-service flows: their list, and what is configured for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.accounts_elsewhere import build_accounts_elsewhere
from shopkeeper.app.commerce import Commerce
from shopkeeper.app.dispatch import build_dispatcher
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.app.methods import Methods
from shopkeeper.app.verification import (
    build_recipient_budget,
    build_verification,
    mailed_settings,
)
from shopkeeper.credentials.mailed_nodes import CODE, LINK
from shopkeeper.credentials.method import SettingsMethod
from shopkeeper.credentials.profile import PROFILE, Profile
from shopkeeper.crypto import KeyRing
from shopkeeper.flows.attempts import FlowAttempts
from shopkeeper.flows.callback_states import PURPOSE as CALLBACK_STATES
from shopkeeper.flows.callback_states import CallbackStates
from shopkeeper.flows.callbacks import Callbacks
from shopkeeper.flows.handler import FlowHandler
from shopkeeper.flows.keep_signed_in import KeepSignedIn
from shopkeeper.flows.login import Login, LoginSettings
from shopkeeper.flows.mailed import Recovery
from shopkeeper.flows.opener import FlowOpener
from shopkeeper.flows.operator_recovery import OperatorRecovery
from shopkeeper.flows.paused_submissions import PURPOSE as PAUSED
from shopkeeper.flows.paused_submissions import PausedSubmissions
from shopkeeper.flows.pipeline import Pipeline
from shopkeeper.flows.registrar import Registrar
from shopkeeper.flows.registration import Registration, RegistrationSettings
from shopkeeper.flows.repeated_callbacks import RepeatedCallbacks
from shopkeeper.flows.required_assurance import RequiredAssurance
from shopkeeper.flows.return_to import AfterFlow, ReturnAddresses
from shopkeeper.flows.returning import Returning
from shopkeeper.flows.settings import AccountSettings, AccountSettingsSettings
from shopkeeper.flows.store_handlers import StoreHandlers
from shopkeeper.flows.waiting_callbacks import PURPOSE as WAITING_CALLBACKS
from shopkeeper.flows.waiting_callbacks import WaitingCallbacks
from shopkeeper.http import flow_responses
from shopkeeper.http.callbacks import CALLBACKS
from shopkeeper.http.flow_responses import FlowResponses
from shopkeeper.http.serializers import Serializers
from shopkeeper.languages.choice import offered
from shopkeeper.notify.sign_up_notices import SignUpNotices
from shopkeeper.settings import Settings
from shopkeeper.settings.not_in_effect import REGISTER_LATER
from shopkeeper.settings.selfservice import After


def build_return_addresses(infrastructure: Infrastructure) -> ReturnAddresses:
    selfservice = infrastructure.settings.selfservice
    return ReturnAddresses(
        default=selfservice.default_browser_return_url,
        allowed=selfservice.allowed_return_urls,
        base_url=f"{infrastructure.base_url}/",
    )


def build_registrar(infrastructure: Infrastructure, accounts: Accounts, commerce: Commerce) -> Registrar:
    return Registrar(
        enabled=infrastructure.settings.selfservice.flows.registration.enabled,
        elsewhere=build_accounts_elsewhere(infrastructure.settings),
        mitigate_enumeration=infrastructure.settings.security.account_enumeration.mitigate,
        methods=accounts.methods.for_registration,
        database=infrastructure.database,
        schemas=accounts.schemas,
        identities=accounts.identities,
        address_changes=accounts.address_changes,
        throttle=accounts.throttles["registration"],
        courier=commerce.courier,
        notices=SignUpNotices(infrastructure.cache),
        budget=build_recipient_budget(accounts),
        before=commerce.completion.before,
    )


@dataclass(frozen=True, slots=True)
class FlowBinding:
    """One flow: its handler, and how its answers are serialised."""

    handler: FlowHandler
    shown: FlowResponses


def build_flow_bindings(
    infrastructure: Infrastructure, accounts: Accounts, *, registrar: Registrar
) -> Sequence[FlowBinding]:
    """Return every flow. The pipeline, the routes, the pages and the return addresses follow from this list."""
    flows = infrastructure.settings.selfservice.flows
    return [
        FlowBinding(
            build_login(infrastructure, accounts, accounts.methods),
            flow_responses.login(ui_url=flows.login.ui_url),
        ),
        FlowBinding(
            build_registration(infrastructure, accounts, accounts.methods, registrar=registrar),
            flow_responses.registration(ui_url=flows.registration.ui_url),
        ),
        FlowBinding(
            build_account_settings(infrastructure, accounts, accounts.methods.for_settings),
            flow_responses.settings(
                ui_url=flows.settings.ui_url, serializers=Serializers(base_url=infrastructure.base_url)
            ),
        ),
        FlowBinding(
            Recovery(settings=mailed_settings(flows.recovery), methods=accounts.methods.for_recovery),
            flow_responses.recovery(
                ui_url=flows.recovery.ui_url,
                continues=infrastructure.settings.feature_flags.use_continue_with_transitions,
            ),
        ),
        FlowBinding(
            build_verification(infrastructure, accounts),
            flow_responses.verification(ui_url=flows.verification.ui_url),
        ),
    ]


def build_login(infrastructure: Infrastructure, accounts: Accounts, methods: Methods) -> Login:
    return Login(
        settings=_login_settings(infrastructure.settings, methods),
        methods=methods.for_login,
        schemas=accounts.schemas,
        identities=accounts.identities,
    )


def build_registration(
    infrastructure: Infrastructure, accounts: Accounts, methods: Methods, *, registrar: Registrar
) -> Registration:
    """Return the flow; `registrar` registers by the same methods."""
    return Registration(
        settings=_registration_settings(infrastructure.settings, methods),
        registrar=registrar,
        schemas=accounts.schemas,
    )


def build_account_settings(
    infrastructure: Infrastructure,
    accounts: Accounts,
    methods: Sequence[SettingsMethod],
    *,
    keeps_names: bool = False,
) -> AccountSettings:
    """Return the flow with the profile and these methods; `keeps_names` is that of `Profile`."""
    flow = infrastructure.settings.selfservice.flows.settings
    return AccountSettings(
        settings=_account_settings(infrastructure.settings, accounts.methods),
        methods=_settings_methods(infrastructure, accounts, methods, keeps_names=keeps_names),
        identities=accounts.identities,
        throttle=accounts.throttles["settings"],
        clock=infrastructure.clock,
        assurance=RequiredAssurance(accounts.assurance, required=flow.required_aal, base_url=infrastructure.base_url),
        base_url=infrastructure.base_url,
        ui_url=flow.ui_url,
    )


def build_operator_recovery(infrastructure: Infrastructure, accounts: Accounts) -> OperatorRecovery:
    selfservice = infrastructure.settings.selfservice
    methods, flow = selfservice.methods, selfservice.flows.recovery
    return OperatorRecovery(
        settings=mailed_settings(flow),
        methods={method.name: method for method in accounts.methods.by_mail},
        lifespans={CODE: methods.code.config.lifespan, LINK: methods.link.config.lifespan},
        identities=accounts.identities,
        audit=infrastructure.audit,
        clock=infrastructure.clock,
        return_addresses=build_return_addresses(infrastructure),
        ui_url=flow.ui_url,
        base_url=methods.link.config.base_url or infrastructure.base_url,
        elsewhere=build_accounts_elsewhere(infrastructure.settings),
    )


def build_pipeline(
    infrastructure: Infrastructure,
    accounts: Accounts,
    commerce: Commerce,
    handlers: StoreHandlers,
    *,
    registrar: Registrar,
) -> Pipeline:
    return_addresses = build_return_addresses(infrastructure)
    keeping = KeepSignedIn(enabled=infrastructure.settings.session.keep_signed_in.enabled)
    opener = FlowOpener(handlers, clock=infrastructure.clock, keeping=keeping)
    attempts = FlowAttempts(infrastructure.database)
    dispatcher = build_dispatcher(
        infrastructure,
        accounts,
        commerce,
        registrar=registrar,
        opener=opener,
        keeping=keeping,
        attempts=attempts,
        return_addresses=return_addresses,
    )
    return Pipeline(
        handlers,
        database=infrastructure.database,
        dispatcher=dispatcher,
        attempts=attempts,
        opener=opener,
        keeping=keeping,
        paused=PausedSubmissions(
            infrastructure.database,
            keys=KeyRing(infrastructure.settings.secrets.for_sealing(), purpose=PAUSED),
            clock=infrastructure.clock,
        ),
        states=_callback_states(infrastructure),
        clock=infrastructure.clock,
        return_addresses=return_addresses,
        callback_url=f"{infrastructure.base_url}{CALLBACKS}",
        locale_of=lambda store: offered(commerce.stores.require(store).locale),
    )


def build_returning(
    infrastructure: Infrastructure, accounts: Accounts, handlers: StoreHandlers, *, pipeline: Pipeline
) -> Returning:
    return_addresses = build_return_addresses(infrastructure)
    callbacks = Callbacks(
        infrastructure.database,
        waiting=WaitingCallbacks(
            infrastructure.database,
            keys=KeyRing(infrastructure.settings.secrets.for_sealing(), purpose=WAITING_CALLBACKS),
        ),
        find_session=accounts.sessions.get,
        clock=infrastructure.clock,
    )
    return Returning(
        pipeline,
        callbacks=callbacks,
        repeated=RepeatedCallbacks(
            handlers,
            database=infrastructure.database,
            callbacks=callbacks,
            states=_callback_states(infrastructure),
            return_addresses=return_addresses,
            clock=infrastructure.clock,
        ),
        return_addresses=return_addresses,
        clock=infrastructure.clock,
    )


def _callback_states(infrastructure: Infrastructure) -> CallbackStates:
    return CallbackStates(KeyRing(infrastructure.settings.secrets.for_sealing(), purpose=CALLBACK_STATES))


def return_urls(settings: Settings, flow_bindings: Sequence[FlowBinding]) -> Sequence[str]:
    """Return every address that a browser may be sent to after a form was submitted."""
    selfservice = settings.selfservice
    afters = [flow_binding.handler.settings.after for flow_binding in flow_bindings]
    configured = [url for after in afters for url in (after.default, *after.by_method.values()) if url]
    return [*selfservice.allowed_return_urls, selfservice.default_browser_return_url, *configured]


def _login_settings(settings: Settings, methods: Methods) -> LoginSettings:
    flow = settings.selfservice.flows.login
    return LoginSettings(
        lifespan=flow.lifespan,
        after=_after(flow.after, methods),
        identifier_first=flow.style == "identifier_first",
        mitigate_enumeration=settings.security.account_enumeration.mitigate,
        sends_verification=_methods_with("verification", flow.after, methods),
        shows_verification=_methods_with("show_verification_ui", flow.after, methods),
    )


def _methods_with(hook: str, after: After[Any], methods: Methods) -> frozenset[str]:
    """Return the methods after which a hook runs."""
    return frozenset(name for name in methods.names if any(each.hook == hook for each in after.hooks_of(name)))


def _registration_settings(settings: Settings, methods: Methods) -> RegistrationSettings:
    flow = settings.selfservice.flows.registration
    return RegistrationSettings(
        lifespan=flow.lifespan,
        after=_after(flow.after, methods),
        enabled=flow.enabled,
        two_steps=not flow.one_step,
        one_group=len(methods.for_registration) == 1 and not _further_methods_wait(settings),
        shows_verification=_methods_with("show_verification_ui", flow.after, methods),
        own_pages=settings.selfservice.default_browser_return_url == _own_account_page(settings),
        signs_in={
            method.name: any(hook.hook == "session" for hook in flow.after.hooks_of(method.name))
            for method in methods.for_registration
        },
    )


def _settings_methods(
    infrastructure: Infrastructure, accounts: Accounts, methods: Sequence[SettingsMethod], *, keeps_names: bool
) -> Sequence[SettingsMethod]:
    """Return the methods in the order of the form: the profile comes first."""
    profile = infrastructure.settings.selfservice.methods.profile.enabled
    return [*([Profile(accounts.schemas, keeps_names=keeps_names)] if profile else []), *methods]


def _account_settings(settings: Settings, methods: Methods) -> AccountSettingsSettings:
    flow = settings.selfservice.flows.settings
    return AccountSettingsSettings(
        lifespan=flow.lifespan,
        after=_after(flow.after, methods, PROFILE),
        privileged_for=flow.privileged_session_max_age,
        shows_verification=any(
            hook.hook in {"show_verification_ui", "verify_new_address"} for hook in flow.after.hooks_of(PROFILE)
        ),
    )


def _own_account_page(settings: Settings) -> str:
    """Return the address of our own account page, where a browser goes unless another page is configured."""
    return f"{settings.serve.public.base_url.rstrip('/')}/account"


def _further_methods_wait(settings: Settings) -> bool:
    """Return whether other methods of registration are configured, though not in effect yet: the form has their order
    already."""
    waiting = tuple(f"selfservice.methods.{name}" for name in REGISTER_LATER)
    return any(finding.path.startswith(waiting) for finding in settings.not_in_effect())


def _after(after: After[Any], methods: Methods, *further: str) -> AfterFlow:
    urls = {name: after.of(name).default_browser_return_url for name in (*methods.names, *further)}
    return AfterFlow(
        by_method={name: url for name, url in urls.items() if url}, default=after.default_browser_return_url
    )
