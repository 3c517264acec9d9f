"""The schema of all types. Clients generate their code from its printed form."""

from functools import cache

import strawberry
from graphql import GraphQLSchema
from strawberry.printer import print_schema as print_strawberry
from strawberry.schema.config import StrawberryConfig

from shopkeeper.graphql.access import closed, closed_to_agents
from shopkeeper.graphql.carts import CartMutations, CartQueries
from shopkeeper.graphql.items import Item, ItemVariant
from shopkeeper.graphql.me import CustomerMutations, CustomerQueries
from shopkeeper.graphql.money import SCALARS
from shopkeeper.graphql.orders import OrderMutations, OrderQueries
from shopkeeper.graphql.products import CatalogueQueries
from shopkeeper.graphql.resolvers import resolve_plainly


@closed
@strawberry.type(
    description="What can be asked. Everything needs a token from `/signin`, which visitors get for the asking."
)
class Query(CatalogueQueries, CartQueries, OrderQueries, CustomerQueries):
    pass


@closed_to_agents
@closed
@strawberry.type(
    description="What can be done. Each is a transaction of its own: it is done wholly or not at all, and stays done"
    " when a later one of the same request is refused."
)
class Mutation(CartMutations, OrderMutations, CustomerMutations):
    pass


@cache
def schema() -> strawberry.Schema:
    """Return the schema, built once."""
    built = strawberry.Schema(
        query=Query, mutation=Mutation, types=[Item, ItemVariant], config=StrawberryConfig(scalar_map=SCALARS)
    )
    resolve_plainly(built)
    return built


def core_schema() -> GraphQLSchema:
    """Return graphql-core's schema object, which documents are validated against and executed on."""
    return schema()._schema


def print_schema() -> str:
    """Return the schema in the schema definition language."""
    return print_strawberry(schema()) + "\n"
