"""The client that Ory publishes for Python works with a running server, on both databases."""

from tests.contract.stories import tell_of_a_browser, tell_of_a_customer, tell_of_an_operator, tell_of_probes
from tests.services.shopkeeper_server import Commerce


def test_a_customer_registers_signs_in_and_ends_sessions(shop: Commerce) -> None:
    tell_of_a_customer(shop.public)


def test_a_browser_registers_signs_out_by_link_and_signs_in(shop: Commerce) -> None:
    tell_of_a_browser(shop.public)


def test_an_operator_manages_identities_and_their_sessions(shop: Commerce) -> None:
    tell_of_an_operator(shop.public, shop.admin)


def test_probes_and_version_answer(shop: Commerce) -> None:
    tell_of_probes(shop.public, shop.admin)
