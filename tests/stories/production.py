"""Settings of a server outside of development, as a careful operator would write them."""

from collections.abc import Mapping
from typing import Any, Final

SECRETS: Final[Mapping[str, str]] = {
    "SECRETS_DEFAULT_0": "kQ7vTz2mWf9sXb4hRj6n",
    "SECRETS_CIPHER_0": "kQ7vTz2mWf9sXb4hRj6nLc8pYd3gUe5a",
}
"""The secrets of every server of a test, so that each can open what another has sealed."""

ADMIN_KEY: Final = "9f2c7a51e0b84d36a7c15be2f08d43961c7ea2b4"
PRODUCTION: Final[Mapping[str, Any]] = {
    "secrets": {"default": [SECRETS["SECRETS_DEFAULT_0"]], "cipher": [SECRETS["SECRETS_CIPHER_0"]]},
    "admin": {"api_keys": [ADMIN_KEY]},
    "courier": {"smtp": {"connection_uri": "smtp://127.0.0.1:2525/", "from_address": "shop@example.org"}},
}


def flat(settings: object, name: str = "") -> dict[str, str]:
    """Return settings as environment variables."""
    if isinstance(settings, dict):
        parts = settings.items()
    elif isinstance(settings, list):
        parts = enumerate(settings)
    else:
        return {name: str(settings)}
    found: dict[str, str] = {}
    for key, value in parts:
        found |= flat(value, f"{name}_{key}".upper().lstrip("_"))
    return found
