"""The published clients work through a shop whose store another server of Kratos' API proves the identities of."""

from collections.abc import Callable

import pytest

from tests.contract.conftest import Launch
from tests.contract.mailed_stories import (
    tell_of_a_native_recovery,
    tell_of_a_native_verification,
    tell_of_a_recovery,
    tell_of_a_verification,
    tell_of_the_account_page,
)
from tests.contract.stories import tell_of_a_browser, tell_of_a_customer
from tests.contract.test_npm_clients import drive
from tests.services.shopkeeper_server import Commerce

Told = Callable[[str, str, str], None]


@pytest.fixture(scope="module")
def front(launch_for_module: Launch, sqlite_shop: Commerce) -> Commerce:
    """A shop in front of the run's server; the admin port is that server's, because the identities are there."""
    shop = launch_for_module(
        config={
            "dsn": "memory",
            "providers": [
                {
                    "kind": "kratos",
                    "id": "idp",
                    "public_url": sqlite_shop.public,
                    "token_prefix": "shk_st_",
                    "self_service": "proxy",
                }
            ],
            "stores": [{"id": "default", "provider": "idp"}],
            "clients": {"http": {"private_ip_exception_urls": [f"{sqlite_shop.public}/**"]}},
        }
    )
    return Commerce(shop.public, sqlite_shop.admin, shop.server)


@pytest.mark.parametrize("client", ["client-fetch", "kratos-client"])
def test_a_published_client_drives_every_flow(front: Commerce, client: str) -> None:
    drive(client, front, by="code")


def test_a_customer_and_a_browser(front: Commerce) -> None:
    tell_of_a_customer(front.public)
    tell_of_a_browser(front.public)


@pytest.mark.parametrize(
    "tell",
    [
        tell_of_a_recovery,
        tell_of_a_native_recovery,
        tell_of_a_verification,
        tell_of_a_native_verification,
        tell_of_the_account_page,
    ],
    ids=lambda tell: tell.__name__,
)
def test_a_customer_keeps_the_account(front: Commerce, tell: Told) -> None:
    tell(front.public, front.admin, "code")
