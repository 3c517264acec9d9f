"""Build the endpoint of the GraphQL API."""

from collections.abc import Callable

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.commerce import Commerce
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.flows.registrar import Registrar
from shopkeeper.graphql.documents import Operation
from shopkeeper.graphql.endpoint import GraphQLEndpoint
from shopkeeper.graphql.limits import Limits
from shopkeeper.graphql.registration import CustomerRegistration
from shopkeeper.http.authentication import RequestAuthenticator
from shopkeeper.http.metrics import Metrics
from shopkeeper.http.request_log import note
from shopkeeper.sessions.impersonation import Impersonations
from shopkeeper.settings.serving import GraphQL


def build_graphql(
    infrastructure: Infrastructure,
    accounts: Accounts,
    commerce: Commerce,
    authenticator: RequestAuthenticator,
    *,
    registrar: Registrar,
    pictures: Callable[[str], str],
    metrics: Metrics,
    impersonations: Impersonations | None = None,
) -> GraphQLEndpoint:
    settings = infrastructure.settings.graphql

    def observe(operation: Operation, seconds: float, succeeded: bool) -> None:
        outcome = "succeeded" if succeeded else "refused"
        metrics.observe_operation(operation.kind, operation.field, outcome, seconds)

    kept = {field.name for field in accounts.schemas.default.fields()}
    return GraphQLEndpoint(
        database=infrastructure.database,
        identify=authenticator.principal_of,
        stores=commerce.stores,
        engines=commerce.engines,
        registration=CustomerRegistration(registrar=registrar, kept=kept),
        pictures=pictures,
        limits=build_limits(settings),
        introspection=settings.introspection,
        playground=settings.playground,
        languages=authenticator,
        note=note,
        observe=observe,
        placed_by_agent=impersonations.record_order if impersonations is not None else None,
    )


def build_limits(graphql: GraphQL) -> Limits:
    """Return the limits of one GraphQL request."""
    return Limits(body=graphql.max_bytes, depth=graphql.depth, aliases=graphql.aliases, complexity=graphql.complexity)
