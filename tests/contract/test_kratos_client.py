"""The client that Ory publishes for Python works with a running server, on both databases."""

from collections.abc import Callable

import pytest

from tests.contract.mailed_stories import (
    tell_of_a_native_recovery,
    tell_of_a_native_verification,
    tell_of_a_recovery,
    tell_of_a_verification,
    tell_of_operators_help,
    tell_of_the_account_page,
)
from tests.contract.stories import tell_of_a_browser, tell_of_a_customer, tell_of_an_operator, tell_of_probes
from tests.services.shopkeeper_server import Commerce

Tell = Callable[[str, str, str], None]


def test_a_customer_registers_signs_in_and_ends_sessions(shop: Commerce) -> None:
    tell_of_a_customer(shop.public)


def test_a_browser_registers_signs_out_by_link_and_signs_in(shop: Commerce) -> None:
    tell_of_a_browser(shop.public)


def test_an_operator_manages_identities_and_their_sessions(shop: Commerce) -> None:
    tell_of_an_operator(shop.public, shop.admin)


def test_probes_and_version_answer(shop: Commerce) -> None:
    tell_of_probes(shop.public, shop.admin)


TOLD = [
    tell_of_a_recovery,
    tell_of_a_native_recovery,
    tell_of_operators_help,
    tell_of_a_verification,
    tell_of_a_native_verification,
    tell_of_the_account_page,
]


@pytest.mark.parametrize("tell", TOLD, ids=lambda tell: tell.__name__)
def test_a_customer_keeps_the_account_by_code(shop: Commerce, tell: Tell) -> None:
    tell(shop.public, shop.admin, "code")


@pytest.mark.parametrize("tell", TOLD, ids=lambda tell: tell.__name__)
def test_a_customer_keeps_the_account_by_link(link_shop: Commerce, tell: Tell) -> None:
    tell(link_shop.public, link_shop.admin, "link")
