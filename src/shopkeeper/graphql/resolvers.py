"""Resolvers of queries and mutations, called with the context and the arguments and nothing else.

Strawberry builds a resolver from several layers, which take longer than most of our queries. The methods of the root
types need none of them: they read the context, and their arguments are converted in the same way.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import strawberry
from graphql import GraphQLArgument, GraphQLField, GraphQLResolveInfo, GraphQLScalarType, get_named_type
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField

from shopkeeper.graphql.access import LoggedInOnly, NotForAgents
from shopkeeper.graphql.context import Context

AS_THEY_ARE = frozenset({"String", "Int", "Float", "Boolean", "ID"})
"""Scalars whose values resolvers get as graphql-core has read them."""

Arguments = Mapping[str, Any]


class ContextOnly:
    """Stands in for Strawberry's `Info`, of which our resolvers read only this."""

    __slots__ = ("context",)

    def __init__(self, context: Context) -> None:
        self.context = context


class RootResolver:
    """Resolves one field of a root type.

    Args:
        field: the field as it is declared. It is asynchronous, takes `info`, and has only extensions of `access.py`.
        core: the same field in graphql-core's schema.
        schema: the schema, which knows how to convert input objects.
    """

    __slots__ = ("_arguments", "_as_they_are", "_convert", "_method", "closed", "closed_to_agents")

    def __init__(self, field: StrawberryField, core: GraphQLField, *, schema: strawberry.Schema) -> None:
        assert field.base_resolver is not None  # noqa: S101 - `plain` has checked it; for the type checker
        self._method: Callable[..., Awaitable[Any]] = field.base_resolver.wrapped_func  # type: ignore[assignment]
        self.closed = any(isinstance(each, LoggedInOnly) for each in field.extensions)
        self.closed_to_agents = any(isinstance(each, NotForAgents) for each in field.extensions)
        names = {schema.config.name_converter.get_graphql_name(each): each.python_name for each in field.arguments}
        self._as_they_are = {name: names[name] for name, each in core.args.items() if _is_as_it_is(each)}
        self._arguments = field.arguments
        self._convert = {"scalar_registry": schema.schema_converter.scalar_registry, "config": schema.config}

    def __call__(self, context: Context, arguments: Arguments) -> Awaitable[Any]:
        """Return the field's value, to be awaited. Raises `Unauthenticated` or `NotWhileImpersonating`."""
        if self.closed:
            LoggedInOnly.check(context)
        if self.closed_to_agents:
            NotForAgents.check(context)
        return self._method(None, ContextOnly(context), **self._converted(arguments))

    async def resolve(self, _source: Any, info: GraphQLResolveInfo[Context], **arguments: Any) -> Any:
        """Return the field's value, when graphql-core asks for it."""
        return await self(info.context, arguments)

    def _converted(self, arguments: Arguments) -> Arguments:
        if arguments.keys() <= self._as_they_are.keys():
            return {self._as_they_are[name]: value for name, value in arguments.items()}
        return convert_arguments(dict(arguments), self._arguments, **self._convert)  # type: ignore[arg-type]


def resolve_plainly(schema: strawberry.Schema) -> None:
    """Give every field of the root types that allows it a `RootResolver`, in graphql-core's schema."""
    core = schema._schema
    for root in (core.query_type, core.mutation_type):
        for field in root.fields.values() if root else ():
            declared = field.extensions.get("strawberry-definition")
            if isinstance(declared, StrawberryField) and _is_plain(declared):
                field.resolve = RootResolver(declared, field, schema=schema).resolve


def root_resolver(field: GraphQLField) -> RootResolver | None:
    """Return the resolver of a field of a root type, or None where it is resolved in another way."""
    found = getattr(field.resolve, "__self__", None)
    return found if isinstance(found, RootResolver) else None


def _is_plain(field: StrawberryField) -> bool:
    """Whether nothing is lost without Strawberry's layers: a permission or another extension would be."""
    resolver = field.base_resolver
    return (
        resolver is not None
        and field.is_async
        and resolver.info_parameter is not None
        and resolver.self_parameter is not None
        and not field.permission_classes
        and all(isinstance(each, LoggedInOnly | NotForAgents) for each in field.extensions)
    )


def _is_as_it_is(argument: GraphQLArgument) -> bool:
    named = get_named_type(argument.type)
    return isinstance(named, GraphQLScalarType) and named.name in AS_THEY_ARE
