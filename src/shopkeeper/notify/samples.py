"""Sample values for every mail: for previews, and for trying an operator's templates at the start."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from shopkeeper.languages.choice import SOURCE
from shopkeeper.notify.templates import OPTIONAL, TEMPLATES
from shopkeeper.notify.values import CourierMessage, Status

_IDENTITY: Final = {
    "id": "9f425a8d-7efc-4768-8f23-7647a74fdf13",
    "schema_id": "default",
    "state": "active",
    "metadata_public": None,
    "traits": {"email": "ada@example.org", "name": {"first": "Ada", "last": "Lovelace"}},
}
_THEN: Final = datetime(2026, 3, 14, 15, 9, tzinfo=UTC)
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
        "traits": _IDENTITY["traits"],
        "code": "042137",
        "expires_in_minutes": 60,
        "hours": 72,
        "recovery_url": f"{base_url}/self-service/recovery?flow=3a9e0c1b&token=Yx3mR8",
        "verification_url": f"{base_url}/self-service/verification?flow=3a9e0c1b&code=042137",
        "undo_url": f"{base_url}/account/undo?token=Yx3mR8",
        "end_url": f"{base_url}/account/end-session?token=Yx3mR8",
        "new_address": "lovelace@example.net",
        "provider": "Google",
        "device": {"browser": "Firefox", "system": "Windows"},
        "ends_at": "2026-03-14T15:29:00+00:00",
        "signed_in_at": "2026-03-14T15:09:00+00:00",
        "number": "SK-1001",
        "placed_at": "2026-03-14T15:09:00+00:00",
        "lines": [
            {"name": "Enamel mug, blue", "quantity": 2, "total": {"amount": 2598, "currency": "EUR"}},
            {"name": "Tea towel", "quantity": 1, "total": {"amount": 900, "currency": "EUR"}},
        ],
        "total": {"amount": 3498, "currency": "EUR"},
    }


def sample_messages() -> Iterator[CourierMessage]:
    """Yield a message of every template, as a channel gets it."""
    known = samples()
    for template in TEMPLATES:
        yield CourierMessage(
            id=UUID(int=0),
            status=Status.PROCESSING,
            type="email",
            recipient=known["to"],
            subject="Subject",
            body="Text",
            html="<p>Text</p>",
            context=None,
            template_type=template,
            channel="email",
            send_count=1,
            locale=SOURCE,
            source_event=None,
            last_error=None,
            created_at=_THEN,
            updated_at=_THEN,
            data={name: known[name] for name in (*TEMPLATES[template], *OPTIONAL, "shop_name", "base_url")},
        )


def bare(template: str, known: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values that are always given to a template, without those that may be missing."""
    return {name: known[name] for name in (*TEMPLATES[template], "shop_name", "base_url")}
