"""Settings of mails: `courier`."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from shopkeeper.notify.further_headers import refuse_wrong_headers
from shopkeeper.notify.smtp_uri import SUBJECT, parse_smtp_uri
from shopkeeper.settings.section import Secret, Section
from shopkeeper.settings.values import Lifespan, Reference, parse_duration

_SMTP_URI: Final = re.compile(r"smtps?://\S+", re.ASCII)
_HTTP_URL: Final = r"^https?://\S+$"
_MAIL_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s]+")
_REFERENCE: Final = re.compile(r"(file|base64|https?)://\S+", re.ASCII)
# RFC 6265, 4.1.1.
_COOKIE_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_COOKIE_VALUE: Final = re.compile(r"[!#-+\--:<-\[\]-~]*")
_VALIDITIES: Final[Mapping[str, tuple[str, ...]]] = {
    "recovery": ("valid", "invalid"),
    "recovery_code": ("valid", "invalid"),
    "verification": ("valid", "invalid"),
    "verification_code": ("valid", "invalid"),
    "login_code": ("valid",),
    "registration_code": ("valid",),
}
_PARTS: Final[Mapping[str, str]] = {"subject": "subject", "body.html": "html", "body.plaintext": "txt"}


def _smtp_uri(uri: SecretStr) -> SecretStr:
    if not _SMTP_URI.fullmatch(uri.get_secret_value()):
        raise ValueError("must be smtp://user:password@host:587/ or smtps://user:password@host:465/")
    try:
        parse_smtp_uri(uri.get_secret_value())
    except ValueError as wrong:
        raise ValueError(str(wrong).removeprefix(f"{SUBJECT} ")) from None
    return uri


def _mail_address(value: str) -> str:
    if not _MAIL_ADDRESS.fullmatch(value):
        raise ValueError("must be one mail address, such as no-reply@shop.example")
    return value


def _sendable_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    refuse_wrong_headers(headers)
    return headers


class Smtp(Section):
    """The mail server."""

    connection_uri: Annotated[Secret, AfterValidator(_smtp_uri)] | None = Field(
        default=None, description="The mail server; without one, mails go to the inbox page of `--dev`"
    )
    from_address: Annotated[str, AfterValidator(_mail_address)] = Field(
        default="no-reply@localhost", description="Sender of our mails"
    )
    from_name: str | None = Field(default=None, description="Name beside it, and the shop's name on pages and in mails")
    headers: Annotated[Mapping[str, str], AfterValidator(_sendable_headers)] = Field(
        default={}, repr=False, description="Further headers for each mail"
    )
    local_name: str = Field(default="localhost", description="How we introduce ourselves to the mail server")
    client_cert_path: str | None = Field(default=None, description="Certificate to show to the mail server")
    client_key_path: str | None = Field(default=None, description="Its key")


class Suppression(Section):
    """Addresses that get no mail, because a server has said that they do not exist or their owner complains."""

    lifespan: Lifespan = Field(
        default=parse_duration("2160h"), description="How long an address gets no mail, unless an operator takes it out"
    )


def _header_value(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        sendable = value.isprintable() and value.isascii() and value == value.strip()
        if not (name.isascii() and name.replace("-", "").isalnum() and sendable):
            raise ValueError("has a header that cannot be sent: names have letters, digits and hyphens, values ASCII")
    return headers


class RequestAuth(Section):
    """How a request proves who sends it."""

    type: Literal["basic_auth", "api_key"] | None = Field(default=None, description="`basic_auth` or `api_key`")
    config: Mapping[str, str] = Field(
        default={},
        repr=False,
        description="`user` and `password`; or `name`, `value` and `in`, which is `header` or `cookie`",
    )

    @property
    def in_cookie(self) -> bool:
        """Whether an API key goes into a cookie."""
        return self.config.get("in") == "cookie"

    @model_validator(mode="after")
    def _whole(self) -> "RequestAuth":
        if self.type is None:
            return self
        needed = {"basic_auth": {"user", "password"}, "api_key": {"name", "value"}}[self.type]
        allowed = needed | ({"in"} if self.type == "api_key" else set())
        if not needed <= self.config.keys() <= allowed:
            raise ValueError(f"needs {' and '.join(sorted(needed))} in its config, and nothing else")
        if self.config.get("in", "header") not in {"header", "cookie"}:
            raise ValueError("has `in`, which must be header or cookie")
        self._sendable()
        return self

    def _sendable(self) -> None:
        if self.type == "basic_auth":
            if ":" in self.config["user"] or not (self.config["user"] + self.config["password"]).isprintable():
                raise ValueError("has a user or a password that cannot be sent: no colon in user, no line breaks")
        elif not self.in_cookie:
            _header_value({self.config["name"]: self.config["value"]})
        elif not _COOKIE_NAME.fullmatch(self.config["name"]) or not _COOKIE_VALUE.fullmatch(self.config["value"]):
            raise ValueError("has a cookie that cannot be sent: ASCII without spaces, quotes, commas and semicolons")


class RequestConfig(Section):
    """A request that hands a mail over."""

    url: str | None = Field(default=None, pattern=_HTTP_URL, description="Where mails are sent by HTTP")
    method: Literal["POST", "PUT", "PATCH"] = Field(default="POST", description="Its method")
    headers: Annotated[Mapping[str, str], AfterValidator(_header_value)] = Field(
        default={}, repr=False, description="Further headers"
    )
    body: Reference | None = Field(
        default=None,
        description="Jsonnet that makes its JSON, as a `file://`, `base64://` or `https://` address; Jinja where the "
        "name ends in `.j2`; unset sends the form of [mails](../howto/mails.md)",
    )
    auth: RequestAuth = RequestAuth()


class Http(Section):
    """Mails by HTTP."""

    request_config: RequestConfig = RequestConfig()


class File(Section):
    """Mails into a folder."""

    folder: str = Field(default="var/mails", description="The folder for `.eml` files of `delivery_strategy: file`")


class Channel(Section):
    """A channel for a kind of message."""

    id: Literal["email", "sms"] = Field(description="`email`; `sms` has no effect, because no text message is sent")
    type: Literal["http", "smtp"] = Field(default="http", description="`http` or `smtp`")
    request_config: RequestConfig = Field(default=RequestConfig(), description="The request of `type: http`")


class Bounces(Section):
    """Reports of providers about addresses that do not exist or complain."""

    provider: Literal["standard", "brevo", "mailgun", "postmark", "resend", "sendgrid", "ses", "sparkpost"] = Field(
        default="standard",
        description="Who reports at `/webhooks/courier/bounces`: a provider that [mails](../howto/mails.md) names, or "
        "`standard`, which is our own form",
    )
    secret: Secret | None = Field(
        default=None,
        min_length=24,
        description="Signs reports at `/webhooks/courier/bounces`, or is sent along with them; without it there is no "
        "such address",
    )


class Notices(Section):
    """Mails that tell customers what happened to their account."""

    new_device: bool = Field(
        default=True, description="Tell customers of a sign-in from a browser or a network that is new for them"
    )


def _template_references(templates: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the references by `<mail>.<part>`."""
    found: dict[str, str] = {}
    for path, value in _leaves(templates):
        type_, validity, kind, part = (*path.split(".", 3), "", "", "")[:4]
        if kind == "sms" and validity in _VALIDITIES.get(type_, ()):
            continue
        if validity not in _VALIDITIES.get(type_, ()) or kind != "email" or part not in _PARTS:
            raise ValueError(f"has the unknown key {path}; keys are like recovery_code.valid.email.body.html")
        if not isinstance(value, str) or not _REFERENCE.fullmatch(value):
            raise ValueError(f"has {path}, which must be a base64://, file://, https:// or http:// address")
        found[f"{type_}_{validity}.{_PARTS[part]}"] = value
    return found


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for name, value in tree.items():
        path = f"{prefix}{name}"
        leaves += _leaves(value, f"{path}.") if isinstance(value, Mapping) else [(path, value)]
    return leaves


class Courier(Section):
    """Mails."""

    delivery_strategy: Literal["smtp", "http", "file"] = Field(
        default="smtp", description="How mails are sent: to a mail server, by HTTP, or into a folder"
    )
    smtp: Smtp = Smtp()
    http: Http = Http()
    file: File = File()
    channels: tuple[Channel, ...] = Field(
        default=(), max_length=10, description="Channels by kind of message; `email` takes the place of the strategy"
    )
    template_override_path: str | None = Field(
        default=None, description="A folder with mail templates of your own, see [mails](../howto/mails.md)"
    )
    templates: Annotated[Mapping[str, Any], AfterValidator(_template_references)] = Field(
        default={},
        description="Mail templates of your own, as in Kratos: `<type>.<valid|invalid>.email.subject`, "
        "`.body.html` and `.body.plaintext`, each a `base64://`, `file://` or `https://` address",
    )
    suppression: Suppression = Suppression()
    bounces: Bounces = Bounces()
    notices: Notices = Notices()
    message_retries: int = Field(
        default=5,
        ge=0,
        le=100,
        description="Further tries that a mail has at least, also where `outbox.give_up_after` is over before",
    )

    @property
    def email_channel(self) -> Channel | None:
        """The channel that takes the place of the delivery strategy, if there is one."""
        return next((channel for channel in self.channels if channel.id == "email" and channel.type == "http"), None)

    @model_validator(mode="after")
    def _with_url(self) -> "Courier":
        by_http = [self.http.request_config] if self.delivery_strategy == "http" else []
        by_http += [self.email_channel.request_config] if self.email_channel else []
        if any(request.url is None for request in by_http):
            raise ValueError("needs the url of its request_config, to send mails by HTTP")
        return self
