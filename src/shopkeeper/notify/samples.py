"""Sample values for every mail: for previews, and for trying an operator's templates at the start."""

from collections.abc import Mapping
from typing import Any, Final

from shopkeeper.notify.templates import TEMPLATES

_IDENTITY: Final = {
    "id": "9f425a8d-7efc-4768-8f23-7647a74fdf13",
    "schema_id": "default",
    "state": "active",
    "traits": {"email": "ada@example.org", "name": {"first": "Ada", "last": "Lovelace"}},
}
_SHOP: Final = "https://shop.example"


def samples(*, base_url: str = _SHOP, shop_name: str = "Corner & Sons") -> Mapping[str, Any]:
    """Return a value for each name that a template may use."""
    return {
        "shop_name": shop_name,
        "base_url": base_url,
        "to": "ada@example.org",
        "first_name": "Ada",
        "identity": _IDENTITY,
        "request_url": f"{base_url}/self-service/recovery/browser",
        "transient_payload": {},
        "code": "042137",
        "expires_in_minutes": 60,
        "hours": 72,
        "recovery_url": f"{base_url}/self-service/recovery?flow=3a9e0c1b&token=Yx3mR8",
        "verification_url": f"{base_url}/self-service/verification?flow=3a9e0c1b&code=042137",
        "undo_url": f"{base_url}/account/undo?token=Yx3mR8",
        "end_url": f"{base_url}/account/end-session?token=Yx3mR8",
        "new_address": "lovelace@example.net",
        "device": {"browser": "Firefox", "system": "Windows"},
        "signed_in_at": "2026-03-14T15:09:00+00:00",
        "number": "SK-1001",
        "placed_at": "2026-03-14T15:09:00+00:00",
        "lines": [
            {"name": "Enamel mug, blue", "quantity": 2, "total": {"amount": 2598, "currency": "EUR"}},
            {"name": "Tea towel", "quantity": 1, "total": {"amount": 900, "currency": "EUR"}},
        ],
        "total": {"amount": 3498, "currency": "EUR"},
    }


def bare(template: str, known: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values that are always given to a template, without those that may be missing."""
    return {name: known[name] for name in (*TEMPLATES[template], "shop_name", "base_url")}
