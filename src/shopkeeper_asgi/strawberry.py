"""`@isLoggedIn` for Strawberry: the printed schema shows the directive, and the permission enforces it.

>>> @strawberry.field(extensions=[LoggedIn()])  # doctest: +SKIP
... def my_orders(self, info: strawberry.Info) -> list[Order]:
...     return orders_of(require_user(info).id)

It reads the user whom `SessionMiddleware` (with an `optional` authenticator), the FastAPI dependency, or the Django
middleware has found; or `user` in the context, which a `get_context` of your own may put there.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import strawberry
from strawberry.permission import BasePermission, PermissionExtension
from strawberry.schema_directive import Location

from shopkeeper_asgi.errors import TokenMissing
from shopkeeper_asgi.user import User


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    name="isLoggedIn",
    description="Needs a signed-in user. Others are refused with the code `UNAUTHENTICATED`.",
)
class IsLoggedInDirective:
    """What the printed schema shows."""


class IsLoggedIn(BasePermission):
    """Refuses a field where nobody is signed in. In `permission_classes`, the printed schema does not show it."""

    # Clients of Shopkeeper's own GraphQL API open their login form at this code, older ones at the word.
    message = "This needs authentication: sign in first."
    error_extensions: ClassVar[dict[str, Any]] = {"code": "UNAUTHENTICATED"}  # type: ignore[misc]

    @property
    def schema_directive(self) -> object:
        return _SHOWN

    def has_permission(self, source: Any, info: strawberry.Info, **_: Any) -> bool:
        return user_of(info) is not None


_SHOWN = IsLoggedInDirective()
"""One for all fields: two would look like two definitions of one name."""


class LoggedIn(PermissionExtension):
    """Refuses a field where nobody is signed in, and shows `@isLoggedIn` in the printed schema."""

    def __init__(self) -> None:
        super().__init__([IsLoggedIn()])


def user_of(info: strawberry.Info) -> User | None:
    """Return the user of a GraphQL request, None without one."""
    context = info.context
    request = _member(context, "request") or _member(context, "ws")
    scope = getattr(request, "scope", None)
    found = (
        _member(context, "user"),
        scope.get("user") if isinstance(scope, Mapping) else None,
        getattr(request, "session_user", None),
    )
    return next((one for one in found if isinstance(one, User)), None)


def require_user(info: strawberry.Info) -> User:
    """Return the user of a GraphQL request. Raises `TokenMissing` without one."""
    user = user_of(info)
    if user is None:
        raise TokenMissing
    return user


def _member(context: Any, name: str) -> Any:
    return context.get(name) if isinstance(context, Mapping) else getattr(context, name, None)
