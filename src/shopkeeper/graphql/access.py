"""Who may use which field of the schema: the list of fields that are open to visitors. All others need a customer.

The list both prints `@isLoggedIn` and enforces it, so that the printed schema and the check cannot differ. A new query
or mutation is closed until it is added here.
"""

from typing import Any

import strawberry
from strawberry.extensions import FieldExtension
from strawberry.extensions.field_extension import AsyncExtensionResolver
from strawberry.schema_directive import Location
from strawberry.types.base import WithStrawberryObjectDefinition
from strawberry.types.field import StrawberryField

from shopkeeper.errors import Unauthenticated
from shopkeeper.graphql.context import Context, Info
from shopkeeper.sessions.errors import NotWhileImpersonating

OPEN_TO_VISITORS = frozenset(
    {
        "find_items_by_keyword",
        "find_items_by_category",
        "find_items_by_ids",
        "find_item_by_id",
        "find_item_by_slug",
        "find_categories",
        "find_categories_by_ids",
        "find_category_by_id",
        "find_category_by_slug",
        "get_cart",
        "get_current_customer",
        "create_cart",
        "add_to_cart",
        "update_cart",
        "remove_from_cart",
        "sign_up",
    }
)


OPEN_TO_AGENTS = frozenset(
    {"create_cart", "add_to_cart", "update_cart", "remove_from_cart", "check_out", "place_order"}
)
"""The mutations that an agent may use who acts as a customer or guest; queries are open to them."""


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    name="isLoggedIn",
    description="Needs a signed-in customer. Anybody else is refused with the code `UNAUTHENTICATED`.",
)
class IsLoggedIn:
    pass


class LoggedInOnly(FieldExtension):
    """Enforces `@isLoggedIn` at a field."""

    @staticmethod
    def check(context: Context) -> None:
        """Raise `Unauthenticated` for a visitor."""
        if not context.principal.signed_in:
            raise Unauthenticated

    async def resolve_async(self, next_: AsyncExtensionResolver, source: Any, info: Info, **kwargs: Any) -> Any:
        self.check(info.context)
        return await next_(source, info, **kwargs)


class NotForAgents(FieldExtension):
    """Closes a field to agents who act as a customer or guest."""

    @staticmethod
    def check(context: Context) -> None:
        """Raise `NotWhileImpersonating` for an agent."""
        if context.principal.impersonation is not None:
            raise NotWhileImpersonating

    async def resolve_async(self, next_: AsyncExtensionResolver, source: Any, info: Info, **kwargs: Any) -> Any:
        self.check(info.context)
        return await next_(source, info, **kwargs)


def closed_to_agents(root: type) -> type:
    """Close to agents every mutation that is not on their list."""
    for field in fields_of(root):
        if field.python_name not in OPEN_TO_AGENTS:
            field.extensions = [*field.extensions, NotForAgents()]
    return root


def closed(root: type) -> type:
    """Close to visitors every field of a root type that is not on the list.

    The directive is added here, once, and not when a schema is built: two threads may build the first one at once.
    """
    for field in fields_of(root):
        if field.python_name not in OPEN_TO_VISITORS:
            field.directives = [*field.directives, IsLoggedIn()]
            field.extensions = [*field.extensions, LoggedInOnly()]
    return root


def fields_of(type_: type) -> list[StrawberryField]:
    """Return the fields that a Strawberry type declares."""
    definition: WithStrawberryObjectDefinition = type_  # type: ignore[assignment] # every decorated class is one
    return definition.__strawberry_definition__.fields
