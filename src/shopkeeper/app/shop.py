"""What is sold, where carts live, the story of a visit, and the mails: stores, engines, providers, channels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from shopkeeper.app.ground import Foundation
from shopkeeper.app.hooks import sign_in_hooks
from shopkeeper.app.people import People
from shopkeeper.commerce.embedded import demo
from shopkeeper.commerce.embedded.engine import EmbeddedEngine
from shopkeeper.commerce.port import Engine
from shopkeeper.commerce.stores import Store, Stores
from shopkeeper.flows.handing_over import HandingOver
from shopkeeper.flows.signing_in import SigningIn
from shopkeeper.notify.channels import Channel, InboxChannel, SmtpChannel
from shopkeeper.notify.courier import Courier
from shopkeeper.notify.templates import MailTemplates
from shopkeeper.settings import Settings
from shopkeeper.signin import Visit
from shopkeeper.storage.upkeep import Chore
from shopkeeper.upstream.own import OwnProvider


@dataclass(frozen=True, slots=True)
class Shop:
    """What is sold, where carts live, and the story of a visit."""

    stores: Stores
    engines: Mapping[str, Engine]
    chores: Sequence[Chore]
    signing_in: SigningIn
    visit: Visit
    courier: Courier


def build_shop(ground: Foundation, people: People) -> Shop:
    stores = _stores(ground.settings)
    embedded = EmbeddedEngine(ground.clock, events=ground.outbox)
    engines: Mapping[str, Engine] = {"embedded": embedded}
    signing_in = SigningIn(
        sessions=people.sessions,
        handing_over=HandingOver(stores=stores, engines=engines),
        hooks=sign_in_hooks(ground, people),
    )
    visit = Visit(
        providers={"own": OwnProvider(people.methods.password)},
        signing_in=signing_in,
        sessions=people.sessions,
        sealed=people.sealed,
        refresh_enabled=ground.settings.tokens.refresh.enabled,
    )
    courier = Courier(
        MailTemplates(),
        ground.outbox,
        _channel(ground.settings),
        ground.database,
        clock=ground.clock,
        base_url=ground.base_url,
        shop_name=ground.settings.courier.smtp.from_name or _shop_name(ground.settings),
    )
    chores = [
        Chore("guests' carts", ground.settings.tokens.anonymous.lifespan, embedded.carts.expire),
        Chore("hand-overs", timedelta(days=400), embedded.carts.forget_hand_overs),
        Chore("former carts", timedelta(days=400), embedded.carts.forget_former),
        Chore("order drafts", timedelta(days=30), embedded.orders.forget_drafts),
        Chore("mails", timedelta(days=30), courier.purge),
    ]
    return Shop(stores=stores, engines=engines, chores=chores, signing_in=signing_in, visit=visit, courier=courier)


def _stores(settings: Settings) -> Stores:
    return Stores([Store(**store.model_dump()) for store in settings.stores], default=settings.default_store)


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
