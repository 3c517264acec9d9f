"""The courier, the templates of mails, and the channel that it sends mails through."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import structlog

from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.app.shop_name import shop_name
from shopkeeper.crypto import KeyRing
from shopkeeper.http_client import GuardedClient
from shopkeeper.languages.choice import LANGUAGES
from shopkeeper.notify.channels import Channel, InboxChannel
from shopkeeper.notify.compose import MailComposer
from shopkeeper.notify.courier import Courier
from shopkeeper.notify.file_channel import FileChannel
from shopkeeper.notify.http_channel import HttpAuth, HttpChannel
from shopkeeper.notify.overrides import from_folder, from_settings, templates_with, unread
from shopkeeper.notify.request_bodies import RequestBody, failures, load_body
from shopkeeper.notify.secret_mails import PURPOSE, SecretMails
from shopkeeper.notify.smtp_channel import SmtpChannel
from shopkeeper.notify.templates import MailTemplates
from shopkeeper.settings import Finding, Settings
from shopkeeper.settings.courier import RequestAuth, RequestConfig

log = structlog.get_logger(__name__)


async def build_courier(infrastructure: Infrastructure) -> Courier:
    """Build the courier. Raises `ValueError` where a template or the channel is not usable."""
    settings = infrastructure.settings
    return Courier(
        await load_templates(settings, infrastructure.http_client),
        infrastructure.outbox,
        await _channel(settings, infrastructure),
        infrastructure.database,
        clock=infrastructure.clock,
        base_url=infrastructure.base_url,
        shop_name=shop_name(settings),
        secret=_secret_mails(settings),
        tally=infrastructure.tally,
    )


async def load_templates(settings: Settings, client: GuardedClient) -> MailTemplates:
    """Return our templates with the operator's in their place. Raises `OverrideBroken`."""
    courier = settings.courier
    overrides = dict(await from_settings(courier.templates, client))
    if courier.template_override_path is not None:
        overrides |= await asyncio.to_thread(from_folder, Path(courier.template_override_path), LANGUAGES)
    return templates_with(overrides)


def template_findings(settings: Settings) -> Iterator[Finding]:
    """Yield a warning for each template of the operator's folder that no mail uses."""
    path, folder = "courier.template_override_path", settings.courier.template_override_path
    for file in unread(Path(folder), LANGUAGES) if folder is not None else ():
        sentence = f"{file} is the template of no mail; `shopkeeper mail preview` lists the mails that there are."
        yield Finding("warning", path, sentence)


def _secret_mails(settings: Settings) -> SecretMails | None:
    """Return None in development, where the inbox page shows what mails say."""
    return None if settings.dev else SecretMails(KeyRing(settings.secrets.for_sealing(), purpose=PURPOSE))


async def _channel(settings: Settings, infrastructure: Infrastructure) -> Channel:
    courier = settings.courier
    if courier.email_channel is not None:
        return await _http_channel(courier.email_channel.request_config, infrastructure)
    if courier.delivery_strategy == "http":
        return await _http_channel(courier.http.request_config, infrastructure)
    if courier.delivery_strategy == "file":
        return FileChannel(Path(courier.file.folder), _composer(settings))
    return _smtp_channel(settings)


def _composer(settings: Settings) -> MailComposer:
    smtp = settings.courier.smtp
    return MailComposer(from_address=smtp.from_address, from_name=smtp.from_name, headers=smtp.headers)


def _smtp_channel(settings: Settings) -> Channel:
    smtp = settings.courier.smtp
    if smtp.connection_uri is None:
        return InboxChannel()
    return SmtpChannel(
        smtp.connection_uri.get_secret_value(),
        composer=_composer(settings),
        local_name=smtp.local_name,
        client_cert_path=smtp.client_cert_path,
        client_key_path=smtp.client_key_path,
    )


async def _http_channel(request: RequestConfig, infrastructure: Infrastructure) -> Channel:
    return HttpChannel(
        infrastructure.http_client,
        request.url or "",
        method=request.method,
        headers=request.headers,
        auth=_auth(request.auth),
        body=await _body(request.body, infrastructure) if request.body is not None else None,
    )


async def _body(reference: str, infrastructure: Infrastructure) -> RequestBody:
    """Load what makes a request's body, and say in the log which mails it cannot be made for."""
    body = await load_body(reference, infrastructure.http_client, infrastructure.jsonnet)
    found = await failures(body)
    for reason in dict.fromkeys(found.values()):
        log.warning("courier.body_fails", reason=reason, templates=[name for name in found if found[name] == reason])
    return body


def _auth(auth: RequestAuth) -> HttpAuth | None:
    if auth.type is None:
        return None
    if auth.type == "basic_auth":
        return HttpAuth(auth.config["user"], auth.config["password"], "basic")
    return HttpAuth(auth.config["name"], auth.config["value"], "cookie" if auth.in_cookie else "header")
