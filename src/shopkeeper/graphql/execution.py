"""Execution: graphql-core's executor, with a fast path for selections that do not wait.

Most of an answer is read from attributes of values that a resolver has fetched already, or from methods that reshape
them. graphql-core treats each of these like a database call, which takes about forty times as long as reading it. A
selection in which no field takes arguments, waits, or is guarded is therefore compiled to nested functions, once for a
document.

Errors are the same on both paths: where the fast path fails (an exception, a null in a non-null field, a value of
another type), graphql-core executes the object again from the start, and reports the error itself.

A query whose root fields all have a `RootResolver` is compiled as a whole (`QueryPlan`), and graphql-core's executor is
not even built. Queries only read, so where one fails graphql-core may run it again. Mutations always go through
graphql-core.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from types import FunctionType
from typing import Any, TypeAlias

from graphql import (
    Executor,
    FieldNode,
    GraphQLBoolean,
    GraphQLField,
    GraphQLID,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    GraphQLString,
    ListValueNode,
    ObjectValueNode,
    OperationType,
    TypeNameMetaFieldDef,
    ValueNode,
    VariableDefinitionNode,
    VariableNode,
    is_abstract_type,
    is_leaf_type,
)
from graphql.execution.collect_fields import FieldDetailsList, collect_fields
from graphql.execution.values import VariableValues, get_argument_values, get_variable_values
from graphql.pyutils import AwaitableOrValue, Path
from strawberry.types.field import StrawberryField

from shopkeeper.graphql.context import Context
from shopkeeper.graphql.resolvers import Arguments, RootResolver, root_resolver

Read: TypeAlias = Callable[[Any], Any]
ReadObject: TypeAlias = Callable[[Any], dict[str, Any]]
Key: TypeAlias = tuple[str, tuple[int, ...]]


class NotPlain(Exception):
    """The fast path cannot be used here."""


@dataclass(frozen=True, slots=True)
class Plans:
    """The compiled selections of one document, by type and by selecting nodes. None where the fast path cannot be used.

    They live as long as the document, unless it has directives, which may select other fields in the next request.
    `queries` holds the plan of each operation that was executed, by name.
    """

    lasting: bool = False
    known: dict[Key, ReadObject | None] = field(default_factory=dict)
    queries: dict[str | None, "QueryPlan | None"] = field(default_factory=dict)

    def for_one_request(self) -> "Plans":
        return self if self.lasting else Plans()

    def keep(self, name: str | None, executor: "FastPathExecutor") -> None:
        """Compile an operation for the next requests, when it is executed for the first time."""
        if self.lasting and name not in self.queries:
            self.queries[name] = executor.query_plan()


class FastPathExecutor(Executor[None]):
    """Uses the fast path where there is one."""

    def __init__(self, *args: Any, plans: Plans, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._plans = plans.known

    def collect_and_execute_subfields(
        self,
        return_type: GraphQLObjectType,
        field_details_list: FieldDetailsList,
        path: Path,
        result: Any,
        position_context: None,
    ) -> AwaitableOrValue[dict[str, Any]]:
        plan = self._plan(return_type, field_details_list)
        if plan is not None:
            try:
                return plan(result)
            except Exception:  # noqa: S110 - graphql-core raises it again below, and reports it
                pass
        return super().collect_and_execute_subfields(return_type, field_details_list, path, result, position_context)

    def query_plan(self) -> "QueryPlan | None":
        """Compile the operation as a whole; None where it is not a query, or where the fast path cannot be used."""
        root = self.schema.query_type
        if root is None or self.operation.operation is not OperationType.QUERY:
            return None
        collected = collect_fields(self.schema, self.fragments, self.variable_values, root, self.operation)
        try:
            fields = [self._root_field(name, root, details) for name, details in collected.grouped_field_set.items()]
        except NotPlain:
            return None
        return QueryPlan(self.schema, tuple(self.operation.variable_definitions or ()), fields)

    def _root_field(self, name: str, root: GraphQLObjectType, details: FieldDetailsList) -> "RootField":
        node = details[0].node
        definition = self.schema.get_field(root, node.name.value)
        resolver = root_resolver(definition) if definition is not None else None
        if definition is None or resolver is None:
            raise NotPlain
        constant = None if _depends(node) else get_argument_values(definition, node)
        return RootField(name, node, definition, resolver, constant, self._completion(definition.type, details))

    def _plan(self, type_: GraphQLObjectType, selected: FieldDetailsList) -> ReadObject | None:
        key = (type_.name, tuple(id(detail.node) for detail in selected))
        if key not in self._plans:
            try:
                self._plans[key] = self._object(type_, selected)
            except NotPlain:
                self._plans[key] = None
        return self._plans[key]

    def _object(self, type_: GraphQLObjectType, selected: FieldDetailsList) -> ReadObject:
        grouped = self.collect_subfields(type_, selected).grouped_field_set
        fields = [(name, self._field(type_, details)) for name, details in grouped.items()]

        def read(source: Any) -> dict[str, Any]:
            if source is None:
                raise NotPlain
            return {name: field(source) for name, field in fields}

        return read

    def _field(self, type_: GraphQLObjectType, selected: FieldDetailsList) -> Read:
        definition = self.schema.get_field(type_, selected[0].node.name.value)
        if definition is TypeNameMetaFieldDef:
            name = type_.name
            return lambda _: name
        if definition is None:
            raise NotPlain
        get, complete = _getter(definition), self._completion(definition.type, selected)
        present = definition.type.of_type if isinstance(definition.type, GraphQLNonNull) else definition.type
        return _read_leaf(get, complete, _FITTING.get(present)) if is_leaf_type(present) else _read(get, complete)

    def _completion(self, type_: GraphQLOutputType, selected: FieldDetailsList) -> Read:
        """Return the function that converts a value that was read to its type."""
        if isinstance(type_, GraphQLNonNull):
            return self._present(type_.of_type, selected)
        present = self._present(type_, selected)
        return lambda value: None if value is None else present(value)

    def _present(self, type_: GraphQLOutputType, selected: FieldDetailsList) -> Read:
        """Return the function that converts a value that must not be null."""
        if isinstance(type_, GraphQLList):
            each = self._completion(type_.of_type, selected)
            return lambda values: [each(value) for value in values]
        if is_leaf_type(type_):
            return _coerced(type_)
        if isinstance(type_, GraphQLObjectType):
            return self._object(type_, selected)
        return self._abstract(type_, selected)

    def _abstract(self, type_: GraphQLOutputType, selected: FieldDetailsList) -> Read:
        if not is_abstract_type(type_):
            raise NotPlain
        by_class = {
            possible.extensions["strawberry-definition"].origin: self._object(possible, selected)
            for possible in self.schema.get_possible_types(type_)
        }
        return lambda value: by_class[type(value)](value)


@dataclass(frozen=True, slots=True)
class RootField:
    """A compiled root field. `constant` are its arguments, where they have no variables."""

    name: str
    node: FieldNode
    definition: GraphQLField
    resolver: RootResolver
    constant: Arguments | None
    complete: Read

    async def resolve(self, context: Context, variables: VariableValues | None) -> Any:
        arguments = self.constant
        if arguments is None:
            arguments = get_argument_values(self.definition, self.node, variables)
        return self.complete(await self.resolver(context, arguments))


class QueryPlan:
    """A whole query, compiled for one document without directives."""

    __slots__ = ("_fields", "_schema", "_variables")

    def __init__(
        self, schema: GraphQLSchema, variables: Sequence[VariableDefinitionNode], fields: Sequence[RootField]
    ) -> None:
        self._schema, self._variables, self._fields = schema, variables, fields

    async def execute(self, context: Context, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the data. Raises any exception where graphql-core is to execute the query, and to report the error."""
        variables = self._coerced(given) if self._variables else None
        if len(self._fields) == 1:
            [only] = self._fields
            return {only.name: await only.resolve(context, variables)}
        # All run to their end, because they share a unit of work that ends with the request.
        work = [field.resolve(context, variables) for field in self._fields]
        values = await asyncio.gather(*work, return_exceptions=True)
        for value in values:
            if isinstance(value, BaseException):
                raise value
        return {field.name: value for field, value in zip(self._fields, values, strict=True)}

    def _coerced(self, given: Mapping[str, Any]) -> VariableValues:
        values = get_variable_values(self._schema, self._variables, dict(given), max_errors=1)
        if isinstance(values, list):
            raise NotPlain
        return values


def _depends(node: FieldNode) -> bool:
    """Return whether the arguments of a field have variables."""
    pending: list[ValueNode] = [argument.value for argument in node.arguments or ()]
    while pending:
        value = pending.pop()
        if isinstance(value, VariableNode):
            return True
        if isinstance(value, ListValueNode):
            pending.extend(value.values)
        if isinstance(value, ObjectValueNode):
            pending.extend(field.value for field in value.fields)
    return False


def _getter(definition: GraphQLField) -> Read:
    """Return the function that reads a field from its source. Raises `NotPlain` where it needs more than the source."""
    declared = definition.extensions.get("strawberry-definition")
    if not isinstance(declared, StrawberryField) or definition.args or declared.extensions or declared.is_async:
        raise NotPlain
    if declared.base_resolver is None:
        return attrgetter(declared.python_name)
    method = declared.base_resolver.wrapped_func
    if declared.base_resolver.info_parameter or not isinstance(method, FunctionType):
        raise NotPlain
    return method


def _read(get: Read, complete: Read) -> Read:
    return lambda source: complete(get(source))


def _read_leaf(get: Read, complete: Read, fitting: type | None) -> Read:
    """Return the function that reads a leaf, and converts it only if it has another type than `fitting`."""

    def read(source: Any) -> Any:
        value = get(source)
        return value if type(value) is fitting else complete(value)

    return read


def _coerced(type_: GraphQLLeafType) -> Read:
    coerce = type_.coerce_output_value

    def coerced(value: Any) -> Any:
        if value is None:
            raise NotPlain
        return coerce(value)

    return coerced


_FITTING: Mapping[Any, type] = {GraphQLString: str, GraphQLID: str, GraphQLBoolean: bool}
"""Leaf types whose values need no conversion if they have this Python type."""
