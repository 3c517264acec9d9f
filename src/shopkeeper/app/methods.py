"""The credential methods: their list, what each is built of, and which are enabled.

Everything else that depends on the methods reads them here: the forms of login and registration, the hooks and the
return addresses of each, the provider of our own identities.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.credentials import oidc_context, simulated_registrations
from shopkeeper.credentials.attempts import AttemptGuard
from shopkeeper.credentials.breached import BreachedPasswords, BreachedRange, CommonPasswords, open_list
from shopkeeper.credentials.by_mail import ByMail
from shopkeeper.credentials.claims_updates import ClaimsUpdates
from shopkeeper.credentials.code import Code
from shopkeeper.credentials.code_mails import CodeMails
from shopkeeper.credentials.hashes import Hasher
from shopkeeper.credentials.link_tokens import LinkTokens
from shopkeeper.credentials.mailed_code import MailedCode
from shopkeeper.credentials.mailed_link import MailedLink
from shopkeeper.credentials.method import (
    LoginMethod,
    Method,
    RecoveryMethod,
    RegistrationMethod,
    SettingsMethod,
    VerificationMethod,
)
from shopkeeper.credentials.oidc import Oidc
from shopkeeper.credentials.oidc_accounts import OidcAccounts
from shopkeeper.credentials.oidc_arrivals import OidcArrivals
from shopkeeper.credentials.oidc_confirmations import Confirmations
from shopkeeper.credentials.oidc_context import SocialContexts
from shopkeeper.credentials.oidc_links import OidcLinks
from shopkeeper.credentials.oidc_redirects import OidcRedirects
from shopkeeper.credentials.oidc_withheld import WithheldSignIns
from shopkeeper.credentials.one_time_codes import OneTimeCodes
from shopkeeper.credentials.password import PASSWORD, Password
from shopkeeper.credentials.policy import PasswordPolicy
from shopkeeper.credentials.provider_attempts import ProviderAttempts
from shopkeeper.credentials.simulated_registrations import SimulatedRegistrations
from shopkeeper.credentials.social_provider import SocialProvider, SocialProviders
from shopkeeper.crypto import KeyRing, derive
from shopkeeper.identity.address_changes import AddressChanges
from shopkeeper.identity.facts import CredentialFacts
from shopkeeper.identity.service import Identities
from shopkeeper.notify.courier import Courier
from shopkeeper.notify.sign_up_notices import SignUpNotices
from shopkeeper.throttle import Throttle

SHORTEST_CONTEXT_WORD = 5


@dataclass(frozen=True, slots=True)
class Methods:
    """The enabled methods, in the order of the forms."""

    every: Sequence[Method]
    by_mail: Sequence[MailedCode | MailedLink] = ()
    """What recovers accounts and verifies addresses."""
    social: Sequence[SocialProvider] = ()
    """The providers of social sign-in."""

    @property
    def names(self) -> Sequence[str]:
        return [method.name for method in self.every]

    @property
    def for_login(self) -> Sequence[LoginMethod]:
        return [method for method in self.every if isinstance(method, LoginMethod)]

    @property
    def for_registration(self) -> Sequence[RegistrationMethod]:
        return [method for method in self.every if isinstance(method, RegistrationMethod)]

    @property
    def for_settings(self) -> Sequence[SettingsMethod]:
        found = [method for method in self.every if isinstance(method, SettingsMethod)]
        return sorted(found, key=lambda method: method.name != PASSWORD)  # the contract has the password first there

    @property
    def for_recovery(self) -> Sequence[RecoveryMethod]:
        return [method for method in (*self.by_mail, *self.every) if isinstance(method, RecoveryMethod)]

    @property
    def for_verification(self) -> Sequence[VerificationMethod]:
        return [method for method in (*self.by_mail, *self.every) if isinstance(method, VerificationMethod)]

    @property
    def second_factors(self) -> frozenset[str]:
        """The credential types that raise a session to AAL2."""
        return frozenset(method.facts.type for method in self.every if method.facts.second_factor)

    @property
    def password(self) -> Password | None:
        """The password method, for routes that take name and password without a flow; None where it is disabled."""
        return next((method for method in self.every if isinstance(method, Password)), None)


def build_methods(
    infrastructure: Infrastructure,
    identities: Identities,
    *,
    hasher: Hasher,
    policy: PasswordPolicy,
    guard: AttemptGuard,
    code: Code,
    by_mail: Sequence[MailedCode | MailedLink] = (),
    social: Sequence[SocialProvider] = (),
    attempts: ProviderAttempts,
) -> Methods:
    configured = infrastructure.settings.selfservice.methods
    ways = [(configured.code.signs_in, Code.facts), (configured.password.enabled, Password.facts)]
    other_ways = [facts for enabled, facts in ways if enabled]
    every: Sequence[tuple[bool, Method]] = [
        (bool(social), build_oidc(infrastructure, identities, social, attempts, other_ways=other_ways)),
        (configured.code.signs_in, code),
        (
            configured.password.enabled,
            Password(
                identities,
                hasher=hasher,
                policy=policy,
                guard=guard,
                simulated=_simulated_registrations(infrastructure, PASSWORD),
            ),
        ),
    ]
    return Methods([method for enabled, method in every if enabled], by_mail, social)


def build_oidc(
    infrastructure: Infrastructure,
    identities: Identities,
    social: Sequence[SocialProvider],
    attempts: ProviderAttempts,
    *,
    other_ways: Sequence[CredentialFacts],
) -> Oidc:
    """Return social sign-in with these providers; `other_ways` are the facts of the other ways to sign in."""
    settings, providers = infrastructure.settings, SocialProviders(social)
    contexts = SocialContexts(KeyRing(settings.secrets.for_sealing(), purpose=oidc_context.PURPOSE))
    base = settings.selfservice.methods.oidc.config.base_redirect_uri or infrastructure.base_url
    accounts = OidcAccounts(identities, providers)
    confirmations = Confirmations(
        providers, other_ways=[facts.type for facts in other_ways], clock=infrastructure.clock
    )
    links = OidcLinks(providers, other_ways=other_ways)
    arrivals = OidcArrivals(
        providers,
        accounts=accounts,
        confirmations=confirmations,
        links=links,
        contexts=contexts,
        withheld=WithheldSignIns(
            _simulated_registrations(infrastructure, Oidc.name),
            address_changes=AddressChanges(identities, clock=infrastructure.clock),
            named_by=(Password.facts.type, Code.facts.type),
        ),
        updates=ClaimsUpdates(identities),
        clock=infrastructure.clock,
    )
    return Oidc(
        providers,
        accounts=accounts,
        confirmations=confirmations,
        links=links,
        redirects=OidcRedirects(providers, contexts=contexts, attempts=attempts, base=base),
        arrivals=arrivals,
        attempts=attempts,
    )


def _simulated_registrations(infrastructure: Infrastructure, method: str) -> SimulatedRegistrations | None:
    """Return what remembers them, where signing in with a method must not tell a taken identifier by them."""
    settings = infrastructure.settings
    hooks = settings.selfservice.flows.login.after.hooks_of(method)
    required = any(hook.hook == "require_verified_address" for hook in hooks)
    if method != PASSWORD and settings.feature_flags.legacy_require_verified_login_error:
        return None  # the hook counts for passwords only then
    if not (required and settings.security.account_enumeration.mitigate):
        return None
    return SimulatedRegistrations(
        key=derive(settings.secrets.for_all_else()[0], purpose=simulated_registrations.PURPOSE),
        keys=KeyRing(settings.secrets.for_sealing(), purpose=simulated_registrations.PURPOSE),
        clock=infrastructure.clock,
    )


def build_by_mail(
    infrastructure: Infrastructure,
    identities: Identities,
    *,
    address_changes: AddressChanges,
    courier: Courier,
    throttles: Mapping[str, Throttle],
    guard: AttemptGuard,
) -> Sequence[MailedCode | MailedLink]:
    """Return the enabled methods of recovery and verification."""
    selfservice = infrastructure.settings.selfservice
    methods, flows = selfservice.methods, selfservice.flows
    notified = {
        name
        for name, flow in (("recovery", flows.recovery), ("verification", flows.verification))
        if flow.notify_unknown_recipients
    }
    by_mail = ByMail(
        identities,
        address_changes=address_changes,
        mails=_code_mails(infrastructure, courier, throttles),
        clock=infrastructure.clock,
        notified=frozenset(notified),
        base_url=methods.link.config.base_url or infrastructure.base_url,
    )
    codes = _codes(infrastructure)
    tokens = LinkTokens(clock=infrastructure.clock, lifespan=methods.link.config.lifespan)
    found: list[MailedCode | MailedLink] = []
    if methods.code.enabled:
        found.append(MailedCode(by_mail, codes=codes, guard=guard, max_submissions=methods.code.config.max_submissions))
    if methods.link.enabled:
        found.append(MailedLink(by_mail, tokens=tokens))
    return found


def _codes(infrastructure: Infrastructure) -> OneTimeCodes:
    secret = infrastructure.settings.secrets.for_all_else()[0]
    lifespan = infrastructure.settings.selfservice.methods.code.config.lifespan
    return OneTimeCodes(key=derive(secret, purpose="codes"), clock=infrastructure.clock, lifespan=lifespan)


def _code_mails(infrastructure: Infrastructure, courier: Courier, throttles: Mapping[str, Throttle]) -> CodeMails:
    return CodeMails(
        courier,
        audit=infrastructure.audit,
        per_client=throttles["code"],
        per_recipient=throttles["code_recipient"],
        per_pair=throttles["code_pair"],
    )


def build_code(
    infrastructure: Infrastructure,
    identities: Identities,
    *,
    courier: Courier,
    throttles: Mapping[str, Throttle],
    guard: AttemptGuard,
) -> Code:
    config = infrastructure.settings.selfservice.methods.code.config
    return Code(
        identities,
        codes=_codes(infrastructure),
        mails=_code_mails(infrastructure, courier, throttles),
        guard=guard,
        notices=SignUpNotices(infrastructure.cache),
        max_submissions=config.max_submissions,
        mitigate_enumeration=infrastructure.settings.security.account_enumeration.mitigate,
    )


def build_policy(infrastructure: Infrastructure) -> PasswordPolicy:
    config = infrastructure.settings.selfservice.methods.password.config
    breached: list[BreachedPasswords] = [CommonPasswords()]
    if config.breached_file:
        breached.append(open_list(config.breached_file, max_breaches=config.max_breaches))
    if config.haveibeenpwned_enabled:
        breached.append(
            BreachedRange(
                infrastructure.http_client,
                infrastructure.clock,
                host=config.haveibeenpwned_host,
                max_breaches=config.max_breaches,
                ignore_network_errors=config.ignore_network_errors,
            )
        )
    return PasswordPolicy(
        min_length=config.min_password_length,
        max_length=config.max_password_length,
        similarity=config.identifier_similarity_check_enabled,
        breached=breached,
        context_words=_context_words(infrastructure),
    )


def _context_words(infrastructure: Infrastructure) -> list[str]:
    """Return words that are associated with this shop; too short ones would forbid too many passwords."""
    translations = [
        "shopkeeper",
        *(store.id for store in infrastructure.settings.stores),
        infrastructure.settings.courier.smtp.from_name or "",
    ]
    return [word for word in translations if len(word) >= SHORTEST_CONTEXT_WORD]
