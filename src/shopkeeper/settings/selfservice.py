"""The self-service flows: `selfservice`."""

from collections.abc import Mapping
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, Field, FilePath, ValidationInfo, field_validator

from shopkeeper.settings.openid_providers import OpenIDMethod
from shopkeeper.settings.section import Section
from shopkeeper.settings.values import BaseUrl, Lifespan, PageUrl, ReturnUrl, parse_duration


class Hook(Section):
    """A hook that runs when a flow has succeeded."""

    hook: str = Field(description="Name of the hook")
    config: Mapping[str, Any] = Field(default={}, repr=False, description="The hook's own settings")


class LoginHook(Hook):
    """A hook after signing in."""

    hook: Literal[
        "revoke_active_sessions",
        "require_verified_address",
        "show_verification_ui",
        "verification",
        "web_hook",
        "b2b_sso",
        "organization",
    ] = Field(
        description="`revoke_active_sessions` ends the identity's other sessions, `require_verified_address` refuses "
        "accounts without a verified address, `verification` mails those addresses, `show_verification_ui` leads there"
    )


class RegistrationHook(Hook):
    """A hook after signing up."""

    hook: Literal["session", "show_verification_ui", "web_hook", "b2b_sso", "organization"] = Field(
        description="`session` signs the new customer in"
    )


AnyHook = TypeVar("AnyHook", bound=Hook)


class SettingsHook(Hook):
    """A hook after a change on the account page."""

    hook: Literal["revoke_active_sessions", "show_verification_ui", "web_hook", "b2b_sso", "organization"] = Field(
        description="`revoke_active_sessions` ends the identity's other sessions"
    )


class NotifiedAddresses(Section):
    """Whom `notify_previous_addresses` tells of a changed address."""

    recipients: Literal["removed", "all_verified", "all"] = Field(
        default="removed",
        description="The addresses that an account had before a change: those it has lost (they are told without the "
        "hook, too), also those that are verified, or all",
    )


class ProfileHook(Hook):
    """A hook after a change of the profile."""

    hook: Literal[
        "revoke_active_sessions",
        "show_verification_ui",
        "verify_new_address",
        "notify_previous_addresses",
        "web_hook",
        "b2b_sso",
        "organization",
    ] = Field(
        description="`revoke_active_sessions` ends the identity's other sessions, `show_verification_ui` and "
        "`verify_new_address` lead to the verification of a new address, `notify_previous_addresses` tells the "
        "addresses from before, by `config.recipients`: `removed`, `all_verified` or `all`"
    )

    @field_validator("config")
    @classmethod
    def _known_recipients(cls, config: Mapping[str, Any], info: ValidationInfo) -> Mapping[str, Any]:
        if info.data.get("hook") == "notify_previous_addresses":
            NotifiedAddresses(**config)
        return config

    def notified(self) -> NotifiedAddresses:
        """Return whom the hook `notify_previous_addresses` tells."""
        return NotifiedAddresses(**self.config)


class RecoveryHook(Hook):
    """A hook after recovering an account."""

    hook: Literal["revoke_active_sessions", "web_hook", "b2b_sso", "organization"] = Field(
        description="`revoke_active_sessions` ends the identity's other sessions"
    )


class VerificationHook(Hook):
    """A hook after verifying an address."""

    hook: Literal["web_hook", "b2b_sso", "organization"] = Field(description="Web hooks come later")


class AfterMethod(Section, Generic[AnyHook]):
    """After success with one method."""

    default_browser_return_url: PageUrl | None = Field(
        default=None, description="Where a browser goes then, unless it said where"
    )
    hooks: tuple[AnyHook, ...] = Field(
        default=(), description="What to do then; the hooks of a method replace those of the flow"
    )


class After(AfterMethod[AnyHook], Generic[AnyHook]):
    """After success with any method; a field for one method has the method's name."""

    def of(self, method: str) -> AfterMethod[AnyHook]:
        """Return the settings of one method; empty if there is no field of its name."""
        own = getattr(self, method, None)
        return own if isinstance(own, AfterMethod) else AfterMethod()

    def hooks_of(self, method: str) -> tuple[AnyHook, ...]:
        """Return the hooks of a method, or else those of the flow."""
        return self.of(method).hooks or self.hooks


class AfterLogin(After[LoginHook]):
    """After signing in."""

    password: AfterMethod[LoginHook] = AfterMethod[LoginHook]()
    code: AfterMethod[LoginHook] = AfterMethod[LoginHook]()
    oidc: AfterMethod[LoginHook] = AfterMethod[LoginHook]()


class AfterRegistration(After[RegistrationHook]):
    """After signing up."""

    password: AfterMethod[RegistrationHook] = AfterMethod[RegistrationHook]()
    code: AfterMethod[RegistrationHook] = AfterMethod[RegistrationHook]()
    oidc: AfterMethod[RegistrationHook] = AfterMethod[RegistrationHook]()


class AfterSettings(After[SettingsHook]):
    """After a change on the account page."""

    password: AfterMethod[SettingsHook] = AfterMethod[SettingsHook]()
    profile: AfterMethod[ProfileHook] = AfterMethod[ProfileHook]()
    oidc: AfterMethod[SettingsHook] = AfterMethod[SettingsHook]()


class AfterRecovery(AfterMethod[RecoveryHook]):
    """After recovering an account."""


class AfterVerification(AfterMethod[VerificationHook]):
    """After verifying an address."""


class LoginFlow(Section):
    """Signing in."""

    ui_url: PageUrl = Field(default="/login", description="The sign-in page; ours on the public base URL when unset")
    lifespan: Lifespan = Field(default=parse_duration("1h"), description="How long a started sign-in stays open")
    style: Literal["unified", "identifier_first"] = Field(
        default="unified", description="One form, or first only the identifier"
    )
    after: AfterLogin = AfterLogin()


class RegistrationFlow(Section):
    """Signing up."""

    enabled: bool = Field(default=True, description="Whether visitors may sign up")
    ui_url: PageUrl = Field(
        default="/registration", description="The sign-up page; ours on the public base URL when unset"
    )
    lifespan: Lifespan = Field(default=parse_duration("1h"), description="How long a started sign-up stays open")
    style: Literal["unified", "profile_first"] = Field(
        default="profile_first", description="One form, or first the profile and then the credential"
    )
    enable_legacy_one_step: bool = Field(default=False, description="Kratos' older word for `style: unified`")
    after: AfterRegistration = AfterRegistration()

    @property
    def one_step(self) -> bool:
        """Whether profile and credential are in one form."""
        return self.enable_legacy_one_step or self.style == "unified"


class SettingsFlow(Section):
    """The account page."""

    ui_url: PageUrl = Field(default="/account", description="The account page; ours on the public base URL when unset")
    lifespan: Lifespan = Field(default=parse_duration("1h"), description="How long an opened account page can be used")
    privileged_session_max_age: Lifespan = Field(
        default=parse_duration("1h"),
        description="How long after signing in password and addresses can be changed without signing in again",
    )
    required_aal: Literal["aal1", "highest_available"] = Field(
        default="highest_available",
        description="Whether the account page needs the second factor of those who have one (`highest_available`), or "
        "is content with the first (`aal1`)",
    )
    after: AfterSettings = AfterSettings()


class RecoveryFlow(Section):
    """Recovering an account by mail."""

    enabled: bool = Field(default=False, description="Whether accounts can be recovered by mail; on with `--demo`")
    ui_url: PageUrl = Field(
        default="/recovery", description="The recovery page; ours on the public base URL when unset"
    )
    lifespan: Lifespan = Field(default=parse_duration("1h"), description="How long a started recovery stays open")
    use: Literal["code", "link"] = Field(default="code", description="What is mailed: a code, or a link")
    notify_unknown_recipients: bool = Field(
        default=False, description="Whether a mail goes to addresses without an account, too"
    )
    after: AfterRecovery = AfterRecovery()


class VerificationFlow(Section):
    """Verifying addresses by mail."""

    enabled: bool = Field(default=False, description="Whether addresses are verified by mail; on with `--demo`")
    ui_url: PageUrl = Field(
        default="/verification", description="The verification page; ours on the public base URL when unset"
    )
    lifespan: Lifespan = Field(default=parse_duration("1h"), description="How long a started verification stays open")
    use: Literal["code", "link"] = Field(default="code", description="What is mailed: a code, or a link")
    notify_unknown_recipients: bool = Field(
        default=False, description="Whether a mail goes to addresses without an account, too"
    )
    after: AfterVerification = AfterVerification()


class ErrorFlow(Section):
    """The error page."""

    ui_url: PageUrl = Field(default="/error", description="The error page; ours on the public base URL when unset")


class AfterLogout(Section):
    """After signing out."""

    default_browser_return_url: PageUrl = Field(
        default="/signed-out",
        description="Where a browser goes after signing out; our page on the public base URL when unset",
    )


class LogoutFlow(Section):
    """Signing out."""

    after: AfterLogout = AfterLogout()


class Flows(Section):
    """The flows."""

    login: LoginFlow = LoginFlow()
    registration: RegistrationFlow = RegistrationFlow()
    settings: SettingsFlow = SettingsFlow()
    recovery: RecoveryFlow = RecoveryFlow()
    verification: VerificationFlow = VerificationFlow()
    error: ErrorFlow = ErrorFlow()
    logout: LogoutFlow = LogoutFlow()


def _host(address: str) -> str:
    """Return the host alone, because Kratos' files may have a scheme: the service is always called by https."""
    return address.rpartition("//")[2].removesuffix("/")


class PasswordPolicy(Section):
    """Requirements for passwords."""

    min_password_length: int = Field(default=8, ge=6, le=64, description="Fewest characters")
    max_password_length: int = Field(default=256, ge=64, le=1024, description="Most characters")
    identifier_similarity_check_enabled: bool = Field(
        default=True, description="Refuse passwords that look like the identifier"
    )
    haveibeenpwned_enabled: bool = Field(
        default=True, description="Ask the range service whether a password has leaked"
    )
    haveibeenpwned_host: Annotated[str, AfterValidator(_host)] = Field(
        default="api.pwnedpasswords.com",
        pattern=r"^(https?://)?[A-Za-z0-9.\-\[\]:]+/?$",
        description="Host of the range service; only five characters of the password's SHA-1 are sent",
    )
    max_breaches: int = Field(default=0, ge=0, le=100, description="How often a password may have leaked")
    ignore_network_errors: bool = Field(
        default=True, description="Whether sign-up goes on when the range service is silent"
    )
    breached_file: FilePath | None = Field(
        default=None, description="A file of leaked passwords' SHA-1, one a line, asked first"
    )


class PasswordMethod(Section):
    """Passwords."""

    enabled: bool = Field(default=True, description="Whether passwords may be used")
    config: PasswordPolicy = PasswordPolicy()


class CodeConfig(Section):
    """Limits of one-time codes."""

    lifespan: Lifespan = Field(
        default=parse_duration("10m"), description="How long a code can be used (Kratos' default is `1h`)"
    )
    max_submissions: int = Field(default=5, ge=1, le=100, description="How many codes may be tried in one flow")


class CodeMethod(Section):
    """One-time codes by e-mail."""

    enabled: bool = Field(default=True, description="Whether one-time codes may be used at all")
    passwordless_enabled: bool = Field(
        default=False, description="Whether a mailed code signs in and registers; on with `--demo`"
    )
    config: CodeConfig = CodeConfig()

    @property
    def signs_in(self) -> bool:
        """Whether the method is part of login and registration."""
        return self.enabled and self.passwordless_enabled


class LinkConfig(Section):
    """Limits of mailed links."""

    lifespan: Lifespan = Field(default=parse_duration("1h"), description="How long a mailed link can be used")
    base_url: BaseUrl | None = Field(
        default=None, description="What mailed links begin with; `serve.public.base_url` when unset"
    )
    confirm_by_click: bool = Field(
        default=False,
        description="Whether a mailed link shows a button first; mail scanners follow links, and press no button",
    )


class LinkMethod(Section):
    """Links by e-mail, for recovery and verification."""

    enabled: bool = Field(default=False, description="Whether links may be mailed")
    config: LinkConfig = LinkConfig()


class ProfileMethod(Section):
    """Changing the profile."""

    enabled: bool = Field(default=True, description="Whether the account page can change the profile")


class Methods(Section):
    """The methods that prove an identity."""

    password: PasswordMethod = PasswordMethod()
    code: CodeMethod = CodeMethod()
    link: LinkMethod = LinkMethod()
    profile: ProfileMethod = ProfileMethod()
    oidc: OpenIDMethod = OpenIDMethod()


class SelfService(Section):
    """Self-service."""

    default_browser_return_url: PageUrl = Field(
        default="/account",
        description="Where a browser goes after a flow, unless it said where; our account page when unset",
    )
    allowed_return_urls: tuple[ReturnUrl, ...] = Field(
        default=(), description="Addresses `return_to` may begin with; the host may start with `*.`"
    )
    flows: Flows = Flows()
    methods: Methods = Methods()
