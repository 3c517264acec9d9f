"""The courier, and the channel that it sends mails through."""

from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.commerce.embedded import demo
from shopkeeper.crypto import KeyRing
from shopkeeper.notify.channels import Channel, InboxChannel, SmtpChannel
from shopkeeper.notify.courier import Courier
from shopkeeper.notify.secret_mails import PURPOSE, SecretMails
from shopkeeper.notify.templates import MailTemplates
from shopkeeper.settings import Settings


def build_courier(infrastructure: Infrastructure) -> Courier:
    return Courier(
        MailTemplates(),
        infrastructure.outbox,
        _channel(infrastructure.settings),
        infrastructure.database,
        clock=infrastructure.clock,
        base_url=infrastructure.base_url,
        shop_name=infrastructure.settings.courier.smtp.from_name or _shop_name(infrastructure.settings),
        secret=_secret_mails(infrastructure.settings),
    )


def _secret_mails(settings: Settings) -> SecretMails | None:
    """Return None in development, where the inbox page shows what mails say."""
    return None if settings.dev else SecretMails(KeyRing(settings.secrets.for_sealing(), purpose=PURPOSE))


def _shop_name(settings: Settings) -> str:
    return demo.read_catalogue().shop.name if settings.demo else settings.default_store


def _channel(settings: Settings) -> Channel:
    smtp = settings.courier.smtp
    if smtp.connection_uri is None:
        return InboxChannel()
    return SmtpChannel(
        smtp.connection_uri.get_secret_value(),
        from_address=smtp.from_address,
        from_name=smtp.from_name,
        headers=smtp.headers,
        local_name=smtp.local_name,
        client_cert_path=smtp.client_cert_path,
        client_key_path=smtp.client_key_path,
    )
