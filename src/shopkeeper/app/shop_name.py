"""The shop's name, as pages are headed and mails are signed."""

from typing import Final

from shopkeeper.commerce.embedded import demo
from shopkeeper.settings import Settings

UNNAMED: Final = "default"
"""The id of a store without a name of its own. It says nothing to shoppers."""
PRODUCT: Final = "Shopkeeper"


def shop_name(settings: Settings) -> str:
    """Return the sender's name of mails, else the demo shop's, else the id of the default store; without any of them,
    the product's name."""
    if settings.courier.smtp.from_name:
        return settings.courier.smtp.from_name
    if settings.demo:
        return demo.read_catalogue().shop.name
    return settings.default_store if settings.default_store != UNNAMED else PRODUCT
